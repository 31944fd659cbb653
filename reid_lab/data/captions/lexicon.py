"""The words of person descriptions, each in one class.

The lists are this project's own: the vocabulary of the embedded world (`reid_lab.data.synthetic.lexicon`),
and ordinary English for how a pedestrian looks and what is worn and carried, with British and American
spellings, plurals, compounds written together or apart, and frequent slips of the pen. No data set's
vocabulary was copied. What stays with the body (glasses, beard, hair, gender, age, build, skin, tattoo) is
identity; what is put on or carried (masks, scarves, hats, umbrellas, jewellery, hair bands) is clothes: so
does the embedded world divide them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache

CLASSES: Mapping[str, str] = {
    "p": "person: the subject, or somebody else",
    "y": "noun of identity that no thing lies on: beard, glasses, ponytail, build, thirties",
    "b": "hair: identity, but a bow may sit in it",
    "l": "limb or place of the body: identity with an adjective (long legs), else a place or a pose",
    "g": "garment, footwear, headgear, jewellery: worn",
    "c": "bag or other thing: carried",
    "k": "detail of a garment or bag: stripes, logo, sleeves",
    "x": "place, vehicle or surroundings",
    "a": "adjective of identity",
    "m": "adjective of clothes: pattern, material, cut",
    "n": "adjective of either: colours and sizes; goes with its noun",
    "q": "side or number: left, both, two",
    "v": "degree: very, mostly",
    "d": "article or demonstrative",
    "h": "possessive",
    "s": "subject pronoun",
    "t": "relative pronoun of things: that, which",
    "W": "verb of wearing",
    "C": "verb of carrying",
    "H": "verb of having",
    "B": "to be, to seem",
    "V": "verb of action, or pose",
    "T": "participle that ties a word to its place: tied, slung, tucked",
    "r": "particle or adverb: up, back, away",
    "w": "with",
    "i": "in",
    "o": "other preposition",
    "&": "and, or, but; the signs & / +",
    ",": "comma, colon, bracket, quotation mark",
    ".": "end of a sentence, or ;",
    "'": "genitive 's",
    "N": "negation: what follows is not told",
    "u": "unknown",
}

_NOUNS: Mapping[str, str] = {
    "p": """
        person pedestrian individual someone somebody human figure subject passerby being walker stranger man woman
        male female guy gentleman lady boy girl gent gal dude fellow lad chap mother father mom dad teen teenager
        kid child baby toddler youth adult senior student schoolboy schoolgirl worker officer guard policeman nurse
        cyclist biker rider jogger runner tourist shopper adolescent youngster elder grandmother grandfather
        businessman businesswoman friend couple model employee youngman
    """,
    "y": """
        beard moustache mustache mustach goatee stubble whisker sideburn dreadlock dread ponytail pigtail braid bun
        bob afro bang fringe updo mohawk cornrow topknot hairstyle hairdo haircut hairline tail plait lock curl cut
        glass eyeglass sunglass spectacle eyewear goggle shade specs build height weight physique stature complexion
        skin age twenty thirty forty fifty sixty seventy 20s 30s 40s 50s 60s 70s twenties thirties forties fifties
        sixties seventies teens tattoo freckle mole wrinkle scar makeup lipstick body frame posture appearance
        heritage descent origin ethnicity gender sex belly stomach cheekbone dimple jaw jawline nose lip eyebrow
        brow
    """,
    "b": "hair hairs hiar har",
    "l": """
        hand arm shoulder back neck waist wrist chest side leg foot knee finger ear head face forehead chin eye
        elbow forearm thigh calf ankle toe hip lap crook front rear pocket bicep mouth cheek torso bottom lapel palm
        fist rightside leftside underarm armpit
    """,
    "g": """
        shirt tshirt tee teeshirt top blouse tank tanktop camisole cami tunic polo jersey vest waistcoat sweater
        pullover jumper cardigan hoodie hoody sweatshirt turtleneck jacket coat overcoat raincoat parka windbreaker
        blazer anorak poncho cape suit tuxedo tux dress frock gown sundress robe uniform outfit clothing clothe
        clothes cloth apparel attire garment costume wear overall dungaree jumpsuit romper onesie trousers trouser
        pants pant jean jeans shorts slack khakis chino capri legging tight tights jegging sweatpants sweatpant
        corduroys culotte skirt miniskirt skort kilt bottoms trunk stocking hose pantyhose bra underwear undershirt
        sock shoe sneaker trainer boot bootie sandal heel slipper loafer flat flats flip-flop flipflop flop pump
        clog crocs wedge oxford stiletto moccasin espadrille footwear cleat converse hat cap beanie visor helmet
        beret fedora bonnet headband bandana bandanna headscarf hijab turban headdress hairband scrunchie barrette
        headwrap hood headgear earmuff scarf shawl pashmina wrap tie necktie bowtie bow belt glove mitten mask
        facemask apron sash suspender watch wristwatch wristband bracelet bangle necklace chain pendant earring ring
        jewelry jewellery jewel anklet bikini swimsuit sari saree kurta kimono pajama pyjama leotard fleece flannel
        denims shrug sweatsuit tracksuit singlet poloshirt windcheater gilet snickers sneekers sandel trowsers
        shirts tshirts legwarmer sweather sweter jaket skirst blous
    """,
    "c": """
        backpack rucksack knapsack bag bags handbag purse satchel tote clutch briefcase suitcase luggage case
        messenger duffel duffle baggage fannypack pouch wallet pack sack schoolbag bookbag shoulderbag daypack
        trolley cart stroller pram umbrella parasol phone cellphone smartphone mobile iphone headphone earphone
        earbud earpiece headset ipod mp3 book notebook magazine newspaper paper folder binder file envelope document
        laptop tablet ipad bottle cup mug drink coffee water can soda food snack sandwich fan box package parcel
        carton basket bucket cane stick crutch racket bat ball skateboard lanyard badge card key keys towel blanket
        bouquet balloon toy tray plate cigarette object item thing something carrier grocery
        groceries bagpack backback bagback packback packpack haversack crossbody
    """,
    "k": """
        stripe strip line pattern print logo design graphic picture image lettering letter word writing text number
        emblem symbol slogan sleeve collar zipper zip buttons cuff trim lining hem seam accent patch dot check plaid
        polka floral lace ruffle frill fur sequin embroidery hole rip tear neckline edge edging piping panel band
        laces sole soles flower strap handle tassel buckle color colour detail fabric material style marking
    """,
    "x": """
        street road sidewalk pavement path pathway floor ground grass building wall door doorway entrance exit hall
        hallway corridor stair stairs staircase step escalator room store shop mall market supermarket station
        platform bus train car vehicle truck van bicycle bike motorcycle motorbike scooter moped park tree bush
        bench table chair counter camera photo photograph direction way crosswalk crossing zebra intersection corner
        area background foreground distance scene place outdoors indoors outside inside fence railing rail pole post
        sign crowd city campus lobby window air view angle profile time day night sun rain snow conversation
        attention motion stride pace glance gesture smile
    """,
}
_OTHERS: Mapping[str, str] = {
    "a": """
        young younger youthful old older elderly aged middleaged mature teenage tall taller slim slender thin skinny
        lean petite stout stocky chubby fat overweight obese heavyset plump muscular athletic fit burly husky lanky
        portly pudgy built bulky bald balding hairless bearded clean-shaven mustached blond blonde brunette brunet
        ginger redhead redheaded haired headed skinned complexioned faced curly wavy wispy frizzy spiky spiked
        buzzed cropped crewcut receding thinning unkempt tousled messy shaggy shaved shaven facial pony pig crew
        buzz bowl flowing asian caucasian african african-american hispanic latino latina indian chinese european
        american arab fair pale tanned pregnant handsome pretty beautiful attractive average pixie balded curled
        greying graying bespectacled bobbed permed streaked silky tattooed stooped
    """,
    "m": """
        striped stripped stripey stripy checked checkered chequered dotted spotted flowered flowery patterned
        printed polka-dot houndstooth argyle paisley camouflage camo tie-dye tone toned two-tone multicolored
        multicoloured multicolor colorful colourful solid denim leather suede wool woolly woolen woollen cotton silk
        satin velvet knit knitted lacy furry fleecey nylon linen canvas corduroy mesh quilted padded puffy puffer
        cargo sleeved sleeveless strapless halter crop hooded collared buttoned unbuttoned button zipped unzipped
        zippered zip-up button-up button-down buttondown crewneck v u t short-sleeved fitted tight-fitting loose
        loose-fitting baggy flared ripped torn faded distressed pleated ruffled fringed casual formal sporty sport
        sports running tennis basketball baseball football soccer gym hiking high-top low-top open-toed toed heeled
        strappy laced slip-on cowboy ugg nike adidas puma rubber plastic reusable shopping grocery drawstring cross
        rolling wheeled folded maxi mini midi pencil yoga sweat track bermuda boxer trench pea bomber letterman
        varsity flip sun winter summer rain bell cuffed rolled-up matching contrasting colored coloured pinstriped
        pinstripe transparent see-through sheer open trucker straw business work school army military overnight
        travel hand-held cell open-toe peep leopard reflective shiny glossy metallic puff cable spaghetti scoop
    """,
    "n": """
        black white grey gray navy blue red brown green beige cream tan pink rose yellow lemon maroon burgundy
        orange purple violet olive khaki gold golden silver teal turquoise aqua cyan magenta lavender lilac peach
        coral salmon rust mustard charcoal ivory chestnut auburn emerald jet bright dark darker light lighter deep
        neon pastel dull plain multi bluish greyish grayish reddish brownish whitish blackish greenish yellowish
        pinkish purplish off-white crimson scarlet wine plum mint lime indigo copper bronze sky royal long longer
        short shorter medium mid large larger big bigger small smaller little huge tiny high low thick narrow wide
        broad round heavy full straight normal regular simple neat clean nice dirty worn-out new knee mid-length
        length lengthed tinted rimmed framed wire sharp strong oval square oversized sized whiet blak balck bule
        gery grren
    """,
    "q": """
        left right both two three four one single pair year years several some other another each same middle upper
        lower half whole entire first second early late mid-late few many any no else
    """,
    "v": """
        very slightly quite rather really mostly completely fairly somewhat extremely all partially mainly
        predominantly almost nearly too so more less
    """,
    "d": "a an the this these those there what such",
    "h": "his her hers their its my your",
    "s": "he she they it who whom him them himself herself i you we",
    "t": "that which whose",
    "W": """
        wear wears wearing wore weared waering wering dressed clothed clad attired outfitted donning dons donned
        dressing
    """,
    "C": """
        carry carries carrying carried carring carying caring hold holds holding held pulling pulls pull pushing
        pushes push dragging drags toting totes hauling clutching gripping lugging grasping
    """,
    "H": "has have having had possesses sporting features featuring shows showing includes including haves",
    "B": "is are was were be been am appears appear seems seem becomes remains s",
    "V": """
        walking standing sitting facing looking riding talking turning moving going waiting leaning stepping
        strolling heading reaching swinging bending smiling posing staring gazing glancing approaching crouching
        walk walks walked stand stands stood sit sits sat look looks looked run runs ride rides faces facing talk
        talks turn turns turned move moves go goes going cross crosses crossed wait waits stroll strolls lean leans
        raise raised bent bend bends captured taken photographed seen viewed pictured shown pose poses reach reaches
        swing swings rest rests point points use uses making texting reading jogs travels heads stares gazes glances
        approaches enters leaves stops pauses strides steps
    """,
    "T": """
        tied pulled slung strapped draped tucked wrapped hung hanging rolled worn thrown placed covering covered
        covers hangs swept parted brushed combed gathered pinned clipped styled braided decorated trimmed lined
        paired tightened made reaching falling coming ending resting fastened attached underneath beneath together
        consisting accented written emblazoned adorned hugging put buckled knotted layered
    """,
    "r": """
        up down away forward forwards backwards backward ahead off out along also just then while when as where only
        still currently now neatly loosely tightly here however likely possibly maybe probably perhaps about
        approximately apart closely slowly briskly quickly casually sideways upright alone onward
    """,
    "N": "not isn't isnt doesn't doesnt don't dont aren't wasn't never cannot can't",
    "w": "with w wit wth",
    "i": "in inn",
    "o": """
        on over of to from at by for under behind beside near across through into onto toward towards past against
        around above below between like without during upon within beyond alongside than per
    """,
    "&": "and or but nor plus & / +",
    ",": ', : ( ) "',
}
_PLURAL_ONLY = frozenset({"clothes", "jeans", "trousers", "pants", "shorts", "tights", "flats", "khakis", "bottoms"})
# Nouns that tell no more than that there is a person.
NEUTRAL = frozenset(
    {"person", "persons", "people", "pedestrian", "individual", "someone", "somebody", "human", "figure", "subject"}
    | {"passerby", "being", "walker", "stranger", "adult", "worker", "employee", "friend", "student", "shopper"}
    | {"rider", "cyclist", "biker", "jogger", "runner", "tourist", "model"}
)
# How the clothes part says a verb of carrying; those that are not named here say "carrying".
PARTICIPLES: Mapping[str, str] = {
    "hold": "holding", "holds": "holding", "held": "holding", "holding": "holding",
    "pull": "pulling", "pulls": "pulling", "pulling": "pulling",
    "push": "pushing", "pushes": "pushing", "pushing": "pushing",
    "drag": "dragging", "drags": "dragging", "dragging": "dragging",
    "clutching": "clutching", "gripping": "gripping", "lugging": "lugging", "hauling": "hauling",
}  # fmt: skip


def _plurals(noun: str) -> Iterator[str]:
    if noun in _PLURAL_ONLY or len(noun) < 3:
        return
    if noun.endswith("y") and noun[-2] not in "aeiou":
        yield noun[:-1] + "ies"
    elif noun.endswith(("s", "sh", "ch", "x")):
        yield noun + "es"
    else:
        yield noun + "s"
    if noun.endswith("man"):
        yield noun[:-3] + "men"
    if noun in ("scarf", "calf"):
        yield noun[:-1] + "ves"


def _words() -> dict[str, str]:
    """Word -> letter of `CLASSES`, lower case, compounds also without their hyphen; the first list that has it wins."""
    table: dict[str, str] = {}
    for letter, text in (*_OTHERS.items(), *_NOUNS.items()):
        for word in text.split():
            for form in (word, word.replace("-", "") if len(word) > 1 else word):
                table.setdefault(form, letter)
    for letter, text in _NOUNS.items():
        for word in text.split():
            for form in _plurals(word):
                table.setdefault(form.replace("-", ""), letter)
    table |= {"people": "p", "children": "p", "feet": "l", "teeth": "l", "women": "p", "'s": "'", "’s": "'"}
    return table


WORDS: Mapping[str, str] = _words()
_DELETED: dict[str, set[str]] = {}
for _word in (w for w, letter in WORDS.items() if letter in "gcybp" and len(w) > 5):
    for _cut in range(len(_word) + 1):
        _DELETED.setdefault(_word[:_cut] + _word[_cut + 1 :], set()).add(_word)


def known(word: str) -> bool:
    """Whether a lexicon has the word itself, in any case, or the parts of its compound."""
    lower = word.lower()
    return lower in WORDS or lower.replace("-", "") in WORDS or ("-" in lower and lower.rpartition("-")[2] in WORDS)


@lru_cache(maxsize=1 << 16)
def class_of(word: str) -> str:
    """The letter of a token's class; a word that is not known is judged by its form.

    A hyphenated compound is of its last part's class (long-sleeved); -ing is an action, -ly an adverb; a
    word of six letters or more that is one letter away from a noun of person or clothing is taken for it.
    """
    lower = word.lower()
    if lower in WORDS:
        return WORDS[lower]
    if lower[0] in ".;!?":
        return "."
    joined = lower.replace("-", "")
    if joined in WORDS:
        return WORDS[joined]
    if "-" in lower:
        last = lower.rpartition("-")[2]
        letter = WORDS.get(last, "u")
        # " ", " ", "check-in": a compound of a place or a particle describes.
        return {"l": "n", "o": "u", "r": "u", "i": "u", "w": "u", "d": "u", "s": "u", "y": "a"}.get(letter, letter)
    if joined.isdigit():
        return "q"
    meant = _misspelt(joined)
    if meant:
        return WORDS[meant]
    if re.fullmatch(r"[a-z]{3,}ing", joined):
        return "V"
    if re.fullmatch(r"[a-z]{3,}ly", joined):
        return "r"
    return "u"


def _misspelt(word: str) -> str | None:
    """The noun that a word is one slip away from: a letter more, fewer or other, or two swapped."""
    if not 5 < len(word) < 20:
        return None
    near = set(_DELETED.get(word, ()))
    for cut in range(len(word)):
        rest = word[:cut] + word[cut + 1 :]
        near |= _DELETED.get(rest, set())
        if rest in WORDS and WORDS[rest] in "gcybp" and len(rest) > 4:
            near.add(rest)
    near = {noun for noun in near if noun[0] == word[0] and _one_slip(word, noun)}
    letters = {WORDS[noun] for noun in near}
    return min(near) if len(letters) == 1 else None


def _one_slip(a: str, b: str) -> bool:
    if len(a) == len(b):
        at = [k for k in range(len(a)) if a[k] != b[k]]
        swapped = len(at) == 2 and at[1] == at[0] + 1 and a[at[0]] == b[at[1]] and a[at[1]] == b[at[0]]
        return len(at) == 1 or swapped
    long, short = (a, b) if len(a) > len(b) else (b, a)
    return len(long) == len(short) + 1 and any(long[:k] + long[k + 1 :] == short for k in range(len(long)))

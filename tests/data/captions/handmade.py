"""Captions in the manner of people who describe photographs, with the split that a reader would make.

All sentences were written for these tests. Each row: caption, identity, clothes; only the content words of the
two parts are compared, in order, and an empty string stands for a part that is missing.
"""

# The splitter's rules were mended until they split all of these.
TUNED = [
    (
        "He is wearing a white shirt with black stripes and blue jeans, carries a backpack over his right shoulder. "
        "The man has short black hair and is walking to the left.",
        "man short black hair",
        "white shirt black stripes blue jeans backpack right shoulder",
    ),
    ("a man in a red coat with short hair", "man short hair", "red coat"),
    (
        "The woman has long black hair tied in a ponytail. She is wearing a white t-shirt, dark blue skinny jeans and "
        "white sneakers. She carries a brown leather purse on her left arm.",
        "woman long black hair tied ponytail",
        "white t-shirt dark blue skinny jeans white sneakers brown leather purse left arm",
    ),
    (
        "A young girl wearing glasses is walking with a pink backpack on her back.",
        "young girl glasses",
        "pink backpack back",
    ),
    ("His shirt is white and his pants are black.", "", "shirt white pants black"),
    ("woman in black dress black shoes long hair", "woman long hair", "black dress black shoes"),
    ("An older man who is tall and thin, in his sixties, with gray hair.", "older man tall thin sixties gray hair", ""),
    ("She has a red bow in her hair and a white mask on her face.", "woman", "red bow hair white mask face"),
    ("Pedestrian is next to another man in a green coat. He wears a yellow hat.", "man", "yellow hat"),
    ("The person is dressed in all black and is looking at his cell phone.", "", "all black cell phone"),
    ("Her hair is in a bun, she is pushing a stroller down the street.", "woman hair bun", "stroller"),
    (
        "The guy wears a black leather jacket which has a fur collar and is carrying a red plastic "
        "bag in his right hand.",
        "guy",
        "black leather jacket fur collar red plastic bag right hand",
    ),
    (
        "A lady with shoulder length brown hair walks forward in flip flops.",
        "lady shoulder length brown hair",
        "flip flops",
    ),
    ("Man has on a blue jacket, jeans, and a backpack.", "man", "blue jacket jeans backpack"),
    ("A man with his hands in his pockets is wearing a blue coat.", "man", "blue coat"),
    (
        "This man looks to be in his late twenties; he has a buzz cut, and he's dressed in a gray hoodie, black sweat "
        "pants, and a pair of white running shoes.",
        "man late twenties buzz cut",
        "gray hoodie black sweat pants pair white running shoes",
    ),
    ("The lady's purse is red, her hair is blonde.", "lady hair blonde", "purse red"),
    ("Slim female, brown skin, wearing sunglasses and a straw hat.", "slim female brown skin sunglasses", "straw hat"),
    (
        "The man is wearing a short-sleeved checkered shirt tucked into khaki pants with a brown "
        "belt, and he wears spectacles.",
        "man spectacles",
        "short-sleeved checkered shirt tucked into khaki pants brown belt",
    ),
    ("a bald man with a grey beard", "bald man grey beard", ""),
    ("Walking away from the camera.", "", ""),
    ("A person.", "", ""),
    ("The boy has a black backpack and wears a dark jacket, shorts.", "boy", "black backpack dark jacket shorts"),
    (
        "She wears her long dark hair loose and a knee-length floral skirt.",
        "woman long dark hair loose",
        "knee-length floral skirt",
    ),
    ("The man on the left side of the street wears an orange vest.", "man", "orange vest"),
    ("he is fat and wears a tight polo shirt that is red", "man fat", "tight polo shirt red"),
    ("The woman is holding an umbrella over her head.", "woman", "umbrella head"),
    ("A pregnant woman in a long, flowing white gown", "pregnant woman", "long flowing white gown"),
    ("The man has his sleeves rolled up.", "man", "sleeves rolled up"),
    (
        "Her dress has yellow flowers printed at the bottom and she has black boots.",
        "woman",
        "dress yellow flowers printed bottom black boots",
    ),
    (
        "A teenager with headphones around his neck and a skateboard under his arm.",
        "teenager",
        "headphones neck skateboard arm",
    ),
    ("The man with the beard is wearing a cap backwards.", "man beard", "cap backwards"),
]

# Written before the first measurement; the rules were never changed on account of them.
HELD_OUT = [
    (
        "A middle aged woman with curly red hair is walking her dog. She has on a teal rain jacket and rubber boots.",
        "middle aged woman curly red hair",
        "teal rain jacket rubber boots",
    ),
    (
        "The man is wearing a navy polo with the collar popped and plaid shorts. He has a "
        "messenger bag slung across his chest.",
        "man",
        "navy polo collar popped plaid shorts messenger bag slung across chest",
    ),
    (
        "Young man, short dark hair, grey t shirt, blue jeans, black shoes.",
        "young man short dark hair",
        "grey t shirt blue jeans black shoes",
    ),
    (
        "A woman with her hair pulled up wearing a sleeveless blouse tucked into a pencil skirt, "
        "she is carrying a stack of books.",
        "woman hair pulled up",
        "sleeveless blouse tucked into pencil skirt stack books",
    ),
    ("the persn is wearing a yelow jaket and bleu jeans", "", "yelow jaket bleu jeans"),
    (
        "Wearing a baseball cap and a grey sweatshirt the man walks toward the right with a phone to his ear.",
        "man",
        "baseball cap grey sweatshirt phone ear",
    ),
    (
        "She has on black tights underneath a pleated skirt and wears a camel coat.",
        "woman",
        "black tights underneath pleated skirt camel coat",
    ),
    (
        "The pedestrian has dark skin and a muscular build and wears a white tank top.",
        "dark skin muscular build",
        "white tank top",
    ),
    (
        "An elderly gentleman leaning on a cane, wearing a tweed blazer and brown loafers.",
        "elderly gentleman",
        "cane tweed blazer brown loafers",
    ),
    ("This is a photo of a girl with pigtails and a pink tutu.", "girl pigtails", "pink tutu"),
    (
        "Lady with blonde hair, blue eyes and red lipstick in an evening gown.",
        "lady blonde hair blue eyes red lipstick",
        "evening gown",
    ),
    (
        "He has a shaved head, tattoos on both arms, and is wearing a black muscle shirt.",
        "man shaved head tattoos both arms",
        "black muscle shirt",
    ),
    ("A man riding a bicycle wears a helmet and bright yellow safety vest.", "man", "helmet bright yellow safety vest"),
    (
        "The woman's pants are dark and cropped above the ankle, her shoes are beige flats.",
        "woman",
        "pants dark cropped above ankle shoes beige flats",
    ),
    (
        "A tall male wearing a dark suit and tie with his jacket over one arm.",
        "tall male",
        "dark suit tie jacket over one arm",
    ),
    (
        "The student, a girl of about twenty, has straight hair down to her waist.",
        "girl twenty straight hair down waist",
        "",
    ),
    ("A person in a hooded jacket, hood up, with a large duffel bag.", "", "hooded jacket hood up large duffel bag"),
    (
        "the man has short hair and white shirt and long pants and carry a bag",
        "man short hair",
        "white shirt long pants bag",
    ),
    (
        "Woman, chin length hair, is talking on the phone while holding a coffee cup.",
        "woman chin length hair",
        "phone coffee cup",
    ),
    ("The man in the white shirt is chubby and has a mustache.", "man chubby mustache", "white shirt"),
    (
        "He's in a green army jacket and combat boots, hair slicked back.",
        "man hair slicked back",
        "green army jacket combat boots",
    ),
    (
        "Female in her 30s wearing a maxi dress with a slit and gold hoop earrings.",
        "female 30s",
        "maxi dress slit gold hoop earrings",
    ),
    ("A boy wears a red and white jersey with the number 10 on the back.", "boy", "red white jersey number 10 back"),
    (
        "Her face is hidden by a large sun hat and she drags a wheeled suitcase behind her.",
        "woman",
        "large sun hat wheeled suitcase",
    ),
]

_GLUE = frozenset(
    {"a", "an", "the", "and", "or", "of", "with", "in", "on", "to", "at", "by", "over", "under", "around", "s"}
    | {"that", "this", "which", "who", "whose", "is", "are", "has", "it", "person", "pedestrian"}
    | {"wearing", "carrying", "holding", "pushing", "dragging", "pulling"}
)


def content(text):
    """The words that count, lower case."""
    words = (text or "").lower().replace(",", " ").replace("'s", " ").split()
    return [word for word in words if word not in _GLUE]

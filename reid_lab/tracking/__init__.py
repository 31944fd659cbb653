"""The journal and its MLflow mirror."""

from reid_lab.tracking.journal import Journal as Journal
from reid_lab.tracking.lock import RunLock as RunLock

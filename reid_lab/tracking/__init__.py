"""The journal of a run and its MLflow mirror."""

from reid_lab.tracking.journal import Journal as Journal
from reid_lab.tracking.lock import RunLock as RunLock
from reid_lab.tracking.mirror import Mirror as Mirror
from reid_lab.tracking.mirror import sync as sync
from reid_lab.tracking.mlflow_store import Store as Store
from reid_lab.tracking.ui import open_ui as open_ui
from reid_lab.tracking.ui import run_link as run_link

"""Everything about a run that is neither model, data nor optimizer.

imted/config/settings.py states each key with its type, default, range and meaning.
"""

from omegaconf import OmegaConf

from imted.config.settings import TrainSettings

train = OmegaConf.structured(TrainSettings)

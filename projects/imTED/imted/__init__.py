"""imTED on Detectron2: detectors whose backbone and box head are one masked autoencoder."""

import warnings

# Of newer PyTorch, about Detectron2's code: it would come before every sentence of a command.
warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)

__version__ = "0.1.0"

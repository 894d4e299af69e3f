"""A detector as one file that runs without this project: TorchScript and ONNX."""

from fal_runtime.models import FileInput, InputModel, OutputModel, default

__all__ = ["FileInput", "InputModel", "OutputModel", "default"]

"""What a model wants of a MAE checkpoint; the loader carries it out."""

from dataclasses import dataclass

ENCODER = ("patch_embed", "cls_token", "pos_embed", "blocks")
DECODER = ("norm", "decoder_embed", "decoder_pos_embed", "decoder_blocks")


@dataclass(frozen=True)
class Migration:
    """State which parts of a MAE a model takes over, and under which names.

    Attributes:
        choice: What in the config decides it, for messages: "variant 'imted'".
        without_decoder: The override that chooses a random decoder, for messages.
        parts: Prefix of the names in the model -> the MAE's parts that come there.
    """

    choice: str
    without_decoder: str
    parts: dict[str, tuple[str, ...]]

    @property
    def wants_decoder(self) -> bool:
        """Whether a file without decoder blocks won't do."""
        return any("decoder_blocks" in parts for parts in self.parts.values())

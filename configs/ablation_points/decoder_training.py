"""How should the migrated decoder train: as everything else, slower layer by layer, not at all?"""

points = dict(
    fine_tuned=[],  # the paper's
    decayed=["optimizer.params.decay_decoder=true"],
    frozen=["train.frozen=[roi_heads.box_head.decoder_embed,roi_heads.box_head.decoder_blocks]"],
)

"""How many RoIs does the box head need to train on an image, and at test?"""

points = dict(
    **{f"train_{n}": [f"model.roi_heads.batch_size_per_image={n}"] for n in (32, 16, 64)},
    **{f"test_{n}": [f"model.proposal_generator.post_nms_topk=[300,{n}]"] for n in (30, 300)},
)

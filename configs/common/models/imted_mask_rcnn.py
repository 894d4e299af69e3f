"""imTED Mask R-CNN, ViT-B: all of the method in one page.

MAE encoder, pyramid, RPN, modulated RoI features, MAE decoder; and Detectron2's mask head on the
pyramid. ../boxes_only.py takes the masks away.
"""

from detectron2.config import LazyCall as L
from detectron2.layers import ShapeSpec
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.proposal_generator import RPN, StandardRPNHead
from detectron2.modeling.roi_heads import FastRCNNOutputLayers, MaskRCNNConvUpsampleHead

from imted.modeling import (
    DecoderBoxHead,
    EncoderPyramid,
    ImTEDDetector,
    ImTEDROIHeads,
    MAEEncoder,
    ModulatedPooler,
    ROIPooler,
)

from ..constants import imagenet

model = L(ImTEDDetector)(
    backbone=L(EncoderPyramid)(
        net=L(MAEEncoder)(
            embed_dim=768,
            depth=12,
            num_heads=12,
            patch_size=16,
            drop_path_rate=0.0,
            use_act_checkpoint=False,  # trade time for memory
            interpolate_offset=0.0,  # of the positions; 0.1 in the released imTED
            out_feature="last_feat",
            early_blocks=[],  # blocks whose maps are given out too, 12 as "block12"
        ),
        in_feature="${.net.out_feature}",
        out_channels=256,
        scale_factors=(4.0, 2.0, 1.0, 0.5),
        top_block=L(LastLevelMaxPool)(),
        norm="LN",
        square_pad=0,
    ),
    proposal_generator=L(RPN)(
        in_features=["p2", "p3", "p4", "p5", "p6"],
        head=L(StandardRPNHead)(in_channels="${...backbone.out_channels}", num_anchors=3),
        anchor_generator=L(DefaultAnchorGenerator)(
            sizes=[[32], [64], [128], [256], [512]],
            aspect_ratios=[0.5, 1.0, 2.0],
            strides=[4, 8, 16, 32, 64],
            offset=0.0,
        ),
        anchor_matcher=L(Matcher)(
            thresholds=[0.3, 0.7], labels=[0, -1, 1], allow_low_quality_matches=True
        ),
        box2box_transform=L(Box2BoxTransform)(weights=[1.0, 1.0, 1.0, 1.0]),
        batch_size_per_image=256,
        positive_fraction=0.5,
        pre_nms_topk=(2000, 1000),
        post_nms_topk=(1000, 1000),
        nms_thresh=0.7,
    ),
    roi_heads=L(ImTEDROIHeads)(
        variant="imted",  # or a step towards it, a key of imted.modeling.VARIANTS
        num_classes=80,
        # Boxes: RoIs of the encoder's feature, plus those of the pyramid times a scale that starts
        # at zero, are the tokens that the MAE's decoder reads.
        box_in_features=["p2", "p3", "p4", "p5", "last_feat"],
        box_pooler=L(ModulatedPooler)(
            encoder_pooler=L(ROIPooler)(output_size=7, scales=(1.0 / 16,), sampling_ratio=0),
            pyramid_pooler=L(ROIPooler)(
                output_size="${..encoder_pooler.output_size}",
                scales=(1.0 / 4, 1.0 / 8, 1.0 / 16, 1.0 / 32),
                sampling_ratio=0,
                canonical_box_size=224,  # pixels; a box of this size is pooled at stride 16
            ),
            encoder_dim="${...backbone.net.embed_dim}",
            pyramid_channels="${...backbone.out_channels}",
            scale_init=0.0,
            scale_per_channel=True,
        ),
        box_head=L(DecoderBoxHead)(
            encoder_dim="${...backbone.net.embed_dim}",
            dim=512,
            depth=8,
            num_heads=16,
            drop_path_rate=0.0,
            use_act_checkpoint=False,
            interpolate_offset=0.0,
            norm_rois=True,  # the encoder's norm, on each RoI or on the whole map
        ),
        box_predictor=L(FastRCNNOutputLayers)(
            input_shape=L(ShapeSpec)(channels="${...box_head.dim}"),
            box2box_transform=L(Box2BoxTransform)(weights=(10, 10, 5, 5)),
            num_classes="${..num_classes}",
            box_reg_loss_type="giou",
            loss_weight=dict(loss_cls=1.0, loss_box_reg=10.0),
            test_score_thresh=0.05,
            test_nms_thresh=0.5,
            test_topk_per_image=100,
        ),
        batch_size_per_image=512,
        positive_fraction=0.25,
        proposal_matcher=L(Matcher)(
            thresholds=[0.5], labels=[0, 1], allow_low_quality_matches=False
        ),
        # Masks: Detectron2's convolutions on the pyramid.
        mask_in_features=["p2", "p3", "p4", "p5"],
        mask_pooler=L(ROIPooler)(
            output_size=14,
            scales="${..box_pooler.pyramid_pooler.scales}",
            sampling_ratio=0,
            canonical_box_size="${..box_pooler.pyramid_pooler.canonical_box_size}",
        ),
        mask_head=L(MaskRCNNConvUpsampleHead)(
            input_shape=L(ShapeSpec)(channels="${....backbone.out_channels}", width=14, height=14),
            num_classes="${..num_classes}",
            conv_dims=["${....backbone.out_channels}"] * 5,
        ),
    ),
    input_format="RGB",
    **imagenet,
)

// image_batch: images in, augmented and normalised. camera_batch: the planes of JPEG files in.
#include "kernels/image.h"

#include "engine/op.h"
#include "engine/ops.h"

namespace {

struct Forward {
    static constexpr std::string_view name = "image_batch";
    static constexpr bool typed_by_output = true;
    Shape s;
    ImageBatchOptions o;
    void bind(auto& k, auto& slot) const {
        k.n = s[0], k.h = s[1], k.w = s[2], k.out_h = o.out_h, k.out_w = o.out_w, k.out_c = o.out_channels;
        k.normalize = o.normalize, k.inner_h = o.inner_h, k.inner_w = o.inner_w, k.grey = o.grey;
        slot.in("images", k.images), slot.in("transform", k.transform), slot.in("color", k.color);
        slot.out("y", k.y);
    }
};

struct CameraForward {
    static constexpr std::string_view name = "camera_batch";
    static constexpr bool untyped = true;
    Shape s;
    void bind(auto& k, auto& slot) const {
        k.n = s[0], k.h = s[1], k.w = s[2];
        slot.in("images", k.images), slot.in("planes", k.planes), slot.in("places", k.places);
        slot.out("y", k.y);
    }
};

}  // namespace

Value image_batch(Value images, Value transform, Value color, const ImageBatchOptions& o) {
    const Shape& s = images.shape();
    require(s.size() == 4 && s[3] == 3 && images.dtype() == DType::u8, "image_batch: images have shape {} and type {}",
            to_string(s), to_string(images.dtype()));
    require(transform.shape() == Shape{s[0], 6} && color.shape() == Shape{s[0], 2},
            "image_batch: {} images, transform has shape {}, color {}", s[0], to_string(transform.shape()),
            to_string(color.shape()));
    require((o.inner_h == 0) == (o.inner_w == 0) && o.inner_h <= o.out_h && o.inner_w <= o.out_w,
            "image_batch: {} x {} inner pixels in a frame of {} x {}", o.inner_h, o.inner_w, o.out_h, o.out_w);
    require(o.out_channels >= 3, "image_batch: {} output channels for three colours", o.out_channels);
    const Shape y{s[0], o.out_h, o.out_w, o.out_channels};
    return add_node<ImageBatch>(Forward{s, o}, {{"images", images}, {"transform", transform}, {"color", color}},
                                {{"y", y, images.graph->compute}})["y"];
}

Value camera_batch(Value images, Value planes, Value places) {
    const Shape& s = images.shape();
    require(s.size() == 4 && s[3] == 3 && images.dtype() == DType::u8 && planes.dtype() == DType::u8,
            "camera_batch: images have shape {} and type {}, planes {}", to_string(s), to_string(images.dtype()),
            to_string(planes.dtype()));
    require(places.shape() == Shape{s[0], sizeof(CameraPlace) / sizeof(int32_t)} && places.dtype() == DType::i32,
            "camera_batch: {} images, places have shape {}", s[0], to_string(places.shape()));
    return add_node<CameraBatch>(CameraForward{s}, {{"images", images}, {"planes", planes}, {"places", places}},
                                 {{"y", s, DType::u8}})["y"];
}

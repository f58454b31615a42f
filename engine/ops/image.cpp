// image_batch: images in, augmented and normalised.
#include "kernels/image.h"

#include "engine/device.h"
#include "engine/op.h"
#include "engine/ops.h"

namespace {

struct Forward final : KernelOp<Forward> {
    static constexpr bool typed_by_output = true;
    size_t n, h, w;
    ImageBatchOptions o;
    Forward(const Shape& s, const ImageBatchOptions& o) : n(s[0]), h(s[1]), w(s[2]), o(o) {}
    std::string_view name() const override { return "image_batch"; }
    template <class T>
    ImageBatch<T> call(Tensors in, Tensors out) const {
        return {.n = n,
                .h = h,
                .w = w,
                .out_h = o.out_h,
                .out_w = o.out_w,
                .out_c = o.out_channels,
                .normalize = o.normalize,
                .inner_h = o.inner_h,
                .inner_w = o.inner_w,
                .grey = o.grey,
                .images = in[0].as<uint8_t>(),
                .transform = in[1].as<float>(),
                .color = in[2].as<float>(),
                .y = out[0].as<T>()};
    }
};

}  // namespace

Value image_batch(Value images, Value transform, Value color, const ImageBatchOptions& o) {
    const Shape& s = images.shape();
    require(s.size() == 4 && s[3] == 3 && images.dtype() == DType::u8, "image_batch: images have shape {} and type {}",
            text(s), name(images.dtype()));
    require(transform.shape() == Shape{s[0], 6} && color.shape() == Shape{s[0], 2},
            "image_batch: {} images, transform has shape {}, color {}", s[0], text(transform.shape()),
            text(color.shape()));
    require((o.inner_h == 0) == (o.inner_w == 0) && o.inner_h <= o.out_h && o.inner_w <= o.out_w,
            "image_batch: {} x {} inner pixels in a frame of {} x {}", o.inner_h, o.inner_w, o.out_h, o.out_w);
    require(o.out_channels >= 3, "image_batch: {} output channels for three colours", o.out_channels);
    return images.graph->add(Forward(s, o), {images, transform, color},
                             {{{s[0], o.out_h, o.out_w, o.out_channels}, images.graph->compute}})[0];
}

size_t image_channels(const Device& device, DType precision) {
    return device.kind() == "cuda" && precision != DType::f32 ? 8 : 3;
}

// A primitive of oneDNN with its memory objects; from run to run only their addresses change.
#pragma once

#include <utility>
#include <vector>

#include "kernels/onednn.h"

namespace onednn {
using Memory = dnnl::memory;
using Desc = dnnl::memory::desc;

inline dnnl::primitive_attr with_user_scratchpad() {
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    return attributes;
}

class Call {
public:
    template <class PrimitiveDesc>
    Call(const PrimitiveDesc& desc, dnnl::primitive primitive) : primitive_(std::move(primitive)) {
        scratchpad_bytes_ = desc.scratchpad_desc().get_size();
        add(DNNL_ARG_SCRATCHPAD, desc.scratchpad_desc(), desc.get_engine());
    }
    size_t scratchpad_bytes() const { return scratchpad_bytes_; }
    void add(int argument, const Desc& desc, const dnnl::engine& engine) {
        memories_.emplace_back(desc, engine, nullptr);
        arguments_.push_back({argument, memories_.back().get()});
    }
    void set(int argument, const void* address) {
        for (size_t i = 0; i < arguments_.size(); ++i)
            if (arguments_[i].arg == argument) memories_[i].set_data_handle(const_cast<void*>(address));
    }
    void run(const dnnl::stream& stream) const {
        check_onednn(dnnl_primitive_execute(primitive_.get(), stream.get(), int(arguments_.size()), arguments_.data()),
                     "convolution");
    }

private:
    dnnl::primitive primitive_;
    std::vector<Memory> memories_;
    std::vector<dnnl_exec_arg_t> arguments_;  // one per memory, in the same order
    size_t scratchpad_bytes_ = 0;
};
}  // namespace onednn

// The state of a network on the host: named float arrays in the layout of weight files, and their way to and from a device.
//
// Convolution weights are (c_out, c_in, kernel_h, kernel_w) in a State, as in PyTorch's files, and (c_out, kernel_h,
// kernel_w, c_in) in Parameters. Everything else is alike.
#pragma once

#include <map>

#include "engine/parameters.h"

struct HostTensor {
    Shape shape;
    std::vector<float> values;
};

using State = std::map<std::string, HostTensor>;

State download(const Parameters& parameters);
// The same with `values` in the place of what the network reads: an average of its weights.
State download(const Parameters& parameters, const std::function<std::vector<float>(const Parameters::Entry&)>& values);

// Every parameter must be in the state with the right shape; what else the state holds is ignored. Input channels that are
// padding become zero here, and download() leaves them out. `where` names the state in messages.
void upload(const State& state, Parameters& parameters, const std::string& where);

// For inference: W' = W * scale / sqrt(var + eps), b' = (b - mean) * scale / sqrt(var + eps) + shift, in double. The
// normalization's names disappear, each convolution has a bias. Jacob et al. 2018, https://arxiv.org/abs/1712.05877
State fold_batch_norm(State state, const std::vector<std::pair<std::string, std::string>>& conv_bn, double eps);

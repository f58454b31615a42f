// One optimizer step over flat arrays: master weights in float, gradients in the type of the network.
//
// parameter, momentum, m, v: (count), float   gradient, compute_copy: (count)   state: one StepState in device memory
// compute_copy receives the new parameter rounded to the network's type; null for a network that reads `parameter`.
//
//   g = gradient / loss_scale + weight_decay * parameter
//   SGD    momentum = state.momentum * momentum + g
//          parameter -= learning_rate * (nesterov ? g + state.momentum * momentum : momentum)
//          (momentum starts at 0, so after the first step it is g, as in PyTorch)
//   Adam   m = beta1 * m + (1 - beta1) * g          v = beta2 * v + (1 - beta2) * g^2
//          torch:  parameter -= learning_rate * (m / c1) / (sqrt(v / c2) + epsilon)
//          keras:  parameter -= learning_rate * sqrt(c2) / c1 * m / (sqrt(v) + epsilon)
//          with c1 = bias_correction1 = 1 - beta1^t and c2 = bias_correction2 = 1 - beta2^t. With decoupled weight
//          decay (AdamW), parameter *= 1 - learning_rate * weight_decay before the step replaces the term in g
//   Kingma & Ba 2015, https://arxiv.org/abs/1412.6980; Loshchilov & Hutter 2019, https://arxiv.org/abs/1711.05101
//
// EmaUpdate  average += rate * (parameter - average), a moving average of parameters or statistics, in float
//   Polyak & Juditsky 1992, https://doi.org/10.1137/0330046
//
// CheckFinite adds the number of elements that are NaN or infinite to state->nonfinite (several arrays, one counter).
// A step that finds state->nonfinite not 0 changes nothing: steps are skipped without asking the host.
// FinishStep ends a step: loss scaling as in torch.cuda.amp.GradScaler (halved after a skipped step, doubled after
// `growth_interval` clean ones; growth_interval 0 leaves it alone), counts, and nonfinite back to 0.
#pragma once

#include "kernels/device.h"
#include "kernels/types.h"

struct StepState {            // everything that changes from step to step; lives in device memory
    float learning_rate = 0;  // written by the host before a step, with momentum (beta1) and the corrections
    float momentum = 0;
    float bias_correction1 = 1, bias_correction2 = 1;
    float loss_scale = 1;  // kept by FinishStep from here on
    float nonfinite = 0;
    float clean_steps = 0, skipped_steps = 0;
};

template <class T>
struct SgdStep {
    size_t count;
    float weight_decay;
    bool nesterov;
    const StepState* state;
    const T* gradient;
    float *parameter, *momentum;
    T* compute_copy;
};

enum class AdamForm { torch, keras };

template <class T>
struct AdamStep {
    size_t count;
    float weight_decay, beta2, epsilon;
    bool decoupled;
    AdamForm form;
    const StepState* state;  // momentum is beta1
    const T* gradient;
    float *parameter, *m, *v;
    T* compute_copy;
};

struct EmaUpdate {
    size_t count;
    const StepState* state;
    const float* rate;  // one float in device memory: it changes from step to step
    const float* parameter;
    float* average;
};

template <class T>
struct CheckFinite {
    size_t count;
    const T* gradient;
    StepState* state;
};

struct FinishStep {
    float growth_interval, max_scale;
    StepState* state;
};

template <class T>
void compute(const Cpu&, const SgdStep<T>&);
template <class T>
void compute(const Cpu&, const AdamStep<T>&);
void compute(const Cpu&, const EmaUpdate&);
template <class T>
void compute(const Cpu&, const CheckFinite<T>&);
void compute(const Cpu&, const FinishStep&);
template <class T>
void compute(const Simt&, const SgdStep<T>&);
template <class T>
void compute(const Simt&, const AdamStep<T>&);
void compute(const Simt&, const EmaUpdate&);
template <class T>
void compute(const Simt&, const CheckFinite<T>&);
void compute(const Simt&, const FinishStep&);
template <class T>
void compute(const Cuda&, const SgdStep<T>&);
template <class T>
void compute(const Cuda&, const AdamStep<T>&);
void compute(const Cuda&, const EmaUpdate&);
template <class T>
void compute(const Cuda&, const CheckFinite<T>&);
void compute(const Cuda&, const FinishStep&);

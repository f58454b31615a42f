// One optimizer step over flat arrays: master weights in float, gradients in the type of the network.
//
// parameter, momentum, first, second: (count), float   gradient, copy: (count)   state: one StepState in device memory
// `copy` receives the new parameter rounded to the network's type; null where the network reads `parameter` itself.
//
//   g = gradient / loss_scale + weight_decay * parameter
//   SGD    buffer = momentum * buffer + g          parameter -= learning_rate * (nesterov ? g + momentum * buffer :
//   buffer)
//          (buffer starts at 0, so the first step has buffer = g, as in PyTorch)
//   Adam   first = beta1 * first + (1 - beta1) * g          second = beta2 * second + (1 - beta2) * g^2
//          torch:  parameter -= learning_rate * (first / c1) / (sqrt(second / c2) + epsilon)
//          keras:  parameter -= learning_rate * sqrt(c2) / c1 * first / (sqrt(second) + epsilon)
//          with c1 = 1 - beta1^t, c2 = 1 - beta2^t; decoupled weight decay (AdamW) is parameter *= 1 - learning_rate *
//          weight_decay before the step instead of the term in g
//   Kingma & Ba 2015, https://arxiv.org/abs/1412.6980; Loshchilov & Hutter 2019, https://arxiv.org/abs/1711.05101
//
// EmaUpdate  average += rate * (parameter - average), a moving average of parameters or statistics, in float
//   Polyak & Juditsky 1992, https://doi.org/10.1137/0330046
//
// If state->nonfinite is not 0 when a step runs, nothing is changed: the step is skipped without asking the host.
// CheckFinite adds the number of elements that are NaN or infinite to state->nonfinite (several arrays, one counter).
// FinishStep ends a step: loss scaling as in torch.cuda.amp.GradScaler (halved after a skipped step, doubled after
// `growth_interval` clean ones; growth_interval 0 leaves it alone), counts, and nonfinite back to 0.
#pragma once

#include "kernels/device.h"
#include "kernels/types.h"

struct StepState {            // everything that changes from step to step; lives in device memory
    float learning_rate = 0;  // written by the host before a step, with momentum (beta1), c1 and c2
    float momentum = 0;
    float c1 = 1, c2 = 1;
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
    T* copy;
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
    float *parameter, *first, *second;
    T* copy;
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
    float growth_interval, largest_scale;
    StepState* state;
};

void compute(const Cpu&, const SgdStep<float>&);
void compute(const Cpu&, const AdamStep<float>&);
void compute(const Cpu&, const EmaUpdate&);
void compute(const Cpu&, const CheckFinite<float>&);
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

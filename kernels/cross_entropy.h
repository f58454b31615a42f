// Softmax cross-entropy with label smoothing and class weights, as torch.nn.functional.cross_entropy has it.
//
// logits, probabilities, dlogits: (rows, classes)   labels: (rows)   class_weight: (classes)   sample_loss: (rows)
// loss, dloss: one float   correct: two floats, the rows whose label is the best / among the five best logits
//
//   p       = softmax(logits), with the row's maximum subtracted first
//   q[k]    = (1 - s) * [k == label] + s / classes                        s = smoothing
//   sample  = - sum over k of class_weight[k] * q[k] * log p[k]
//   loss    = sum of samples / sum over rows of class_weight[label]        (all weights 1: the mean over rows)
//   dlogits[k] = dloss * (p[k] * sum over j of class_weight[j] * q[j] - class_weight[k] * q[k])
//                / sum over rows of class_weight[label]
//
// A label of -1 marks a row that does not count: its sample is 0, its gradient 0, the denominator leaves it out; a
// batch without any row that counts has loss 0.
// Ties: a row is correct in the top k if fewer than k classes have a logit above the label's.
// With `ranks`, the sums over rows (loss, correct, both denominators) are those over the rows of all ranks.
// Everything is float and assigned.
#pragma once

#include "kernels/device.h"
#include "kernels/types.h"

class Ranks;  // base/ranks.h

struct CrossEntropyShape {
    size_t rows, classes;
    float smoothing = 0;
};

struct CrossEntropyForward {
    CrossEntropyShape shape;
    const float* logits;
    const int32_t* labels;
    const float* class_weight;  // may be null
    float *loss, *sample_loss, *probabilities, *correct;
    Ranks* ranks = nullptr;
};

struct CrossEntropyBackward {
    CrossEntropyShape shape;
    const float* probabilities;
    const int32_t* labels;
    const float *class_weight, *dloss;
    float* dlogits;
    Ranks* ranks = nullptr;
};

void compute(const Cpu&, const CrossEntropyForward&);
void compute(const Cpu&, const CrossEntropyBackward&);
void compute(const Simt&, const CrossEntropyForward&);
void compute(const Simt&, const CrossEntropyBackward&);
void compute(const Cuda&, const CrossEntropyForward&);
void compute(const Cuda&, const CrossEntropyBackward&);

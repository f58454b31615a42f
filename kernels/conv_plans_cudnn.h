// The engine chosen for each convolution on one GPU: timed once, remembered in a file for the next start.
#pragma once

#include <map>

#include "kernels/conv_graph_cudnn.h"

class CudaConvolutions {
public:
    virtual ~CudaConvolutions() = default;
    using Pointers = std::vector<std::pair<int64_t, const void*>>;  // ConvTensor; a null one is not part of the problem
    virtual void run(const Cuda& cuda, const ConvProblem& problem, const Pointers& pointers) = 0;
};

class ConvPlans final : public CudaConvolutions {
public:
    // `file`: one line per choice, "PROBLEM ENGINE KNOB:VALUE ..."; empty: nothing is stored.
    ConvPlans(cudnnHandle_t handle, std::string file);

    // Runs the problem on the device's stream. The first time it chooses, which waits for the device: so every problem must
    // have run once before it is recorded. What the convolution writes is assigned, so running it often does no harm.
    void run(const Cuda& cuda, const ConvProblem& problem, const Pointers& pointers) override;

private:
    ConvPlan choose(const Cuda& cuda, const ConvProblem& problem, const Pointers& pointers);
    void execute(const Cuda& cuda, const ConvPlan& plan, const Pointers& pointers) const;
    float milliseconds(const Cuda& cuda, const ConvPlan& plan, const Pointers& pointers) const;
    void read();
    void remember(const std::string& key, const ConvEngine& engine);

    cudnnHandle_t handle_;
    CudnnDescriptor device_;
    std::string file_;
    std::map<std::string, ConvEngine> stored_;
    std::map<std::string, ConvPlan> plans_;
};

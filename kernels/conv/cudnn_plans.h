// The engine chosen for each convolution on one GPU: timed once, its plan remembered in a file for the next start.
#pragma once

#include <map>

#include "kernels/conv/cudnn_graph.h"

class CudaConvolutions {
public:
    virtual ~CudaConvolutions() = default;
    using Pointers = std::vector<std::pair<int64_t, const void*>>;  // ConvTensor; a null one is not part of the problem
    virtual void run(const Cuda& cuda, const ConvProblem& problem, const Pointers& pointers) = 0;
};

// The file for choices, in $XDG_CACHE_HOME/tundra: one per GPU with its driver and version of cuDNN. Empty if the
// folder cannot be made.
std::string conv_choices_file(const std::string& gpu, const std::string& cudnn_version);

class ConvPlans : public CudaConvolutions {
public:
    // `file`: one line per choice, "PROBLEM ENGINE KNOB:VALUE ... CHECKSUM PLAN ." (older files: without the plan,
    // which is then built again); empty: nothing is stored.
    ConvPlans(cudnnHandle_t handle, CudnnDescriptor device, std::string file);

    // Runs the problem on the device's stream. The first run chooses the engine by running it several times, and waits
    // for the device: every problem must have run once before it is recorded.
    void run(const Cuda& cuda, const ConvProblem& problem, const Pointers& pointers) override;

    size_t chosen() const { return chosen_; }  // engines so far: each took its time

protected:  // the parts that need a GPU; tests override them
    virtual bool recorded(const Cuda& cuda) const;
    virtual void execute(const Cuda& cuda, const ConvPlan& plan, const Pointers& pointers) const;
    virtual float milliseconds(const Cuda& cuda, const ConvPlan& plan, const Pointers& pointers) const;

private:
    ConvPlan choose(const Cuda& cuda, const ConvProblem& problem, const std::string& key, const Pointers& pointers);
    ConvPlan stored_plan(const CudnnDescriptor& graph, const ConvProblem& problem, const ConvEngineRules& rules,
                         const std::string& key) const;
    void read();
    void remember(const std::string& key, const ConvEngine& engine, const std::string& plan);

    cudnnHandle_t handle_;
    CudnnDescriptor device_;
    std::string file_;
    struct Stored {
        ConvEngine engine;
        std::string plan;
    };
    std::map<std::string, Stored> stored_;
    std::map<std::string, ConvPlan> plans_;
    size_t chosen_ = 0;
    bool bound_ = false;  // ConvEngineRules::handle
};

// Where and how fast a command runs: the same options, with the same meaning, for every command that works on images.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/dtype.h"
#include "engine/device.h"

struct MachineOptions {
    std::string device = "auto", precision = "auto";
    size_t threads = 0;  // 0: all processors
    size_t batch = 0;    // 0: the default of the command
    bool quiet = false;
    std::vector<int> gpus = {};  // that work on this run, each with a process of its own: app/jobs/helpers.h

    int thread_count() const;
    std::unique_ptr<Device> open() const;  // Fault::usage if the device is not there

    // Batch of a classifier, at most the number of images.
    size_t classifier_batch(size_t images) const;
    // The same for a detector: a CPU gains nothing from batches, and a kill loses less without them.
    size_t detector_batch(const Device& device) const;
};

inline constexpr std::string_view kDeviceHelp =
                                      "cpu, cuda, cuda:1 (that GPU; not eval, lr-find: cuda:0,1), simt (CUDA kernels "
                                      "run on the CPU), or auto: cuda if there "
                                      "is a usable GPU, else cpu",
                                  kThreadsHelp = "number of threads; 0 takes all processors";

namespace CLI {
class App;
}
// --device, --precision, --batch, --threads and --quiet, in the group "Machine". `batch_default` is shown in the help.
void add_machine_options(CLI::App& app, MachineOptions& options, const std::string& batch_default);
void add_threads_option(CLI::App& app, size_t& threads);
void add_quiet_option(CLI::App& app, bool& quiet);

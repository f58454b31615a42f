#include "app/jobs/machine.h"

#include <CLI/CLI.hpp>

#include <algorithm>

#include "app/terminal.h"
#include "base/processors.h"
#include "kernels/conv/cpu.h"
#include "train/config.h"

namespace {

// The choices are those of training, from the same table, and `more`.
CLI::IsMember choices_of(std::string_view key, std::vector<std::string> more = {}) {
    const auto field = std::ranges::find(config_fields(), key, &ConfigField::key);
    more.insert(more.begin(), field->choices.begin(), field->choices.end());
    return CLI::IsMember(more);
}

}  // namespace

int MachineOptions::thread_count() const {
    return threads ? int(threads) : std::max(1, usable_processors() / std::max(1, int(gpus.size())));
}

std::unique_ptr<Device> MachineOptions::open() const {
    std::unique_ptr<Device> opened = open_device(device, {.threads = thread_count()});
    if (opened->kind() == "cpu" && !onednn_missing().empty())
        write_error(fmt::format("note: without oneDNN ({}) own loops compute all convolutions, several times slower\n",
                                printable(onednn_missing())));
    return opened;
}

size_t MachineOptions::classifier_batch(size_t images) const {
    return std::clamp<size_t>(images, 1, batch ? batch : 16);
}

size_t MachineOptions::detector_batch(const Device& on) const { return batch ? batch : on.kind() == "cuda" ? 8 : 1; }

void add_machine_options(CLI::App& app, MachineOptions& options, const std::string& batch_default) {
    app.add_option("--device", options.device, std::string(kDeviceHelp))
        ->type_name("NAME")
        ->check([choices = choices_of("device")](const std::string& text) {
            return gpus_in(text).empty() ? choices(text) : std::string();
        })
        ->capture_default_str()
        ->group("Machine");
    app.add_option(
           "--precision", options.precision,
           "arithmetic of the network: fp32, bf16, fp16 (not on cpu), int8 (cpu, a model that `tundra quantize` "
           "made), or auto: int8 for such a model, bf16 for a classifier on cuda, and on cpu for a model that "
           "passed eval --check-bf16 where it is faster; else fp32")
        ->type_name("NAME")
        ->check(choices_of("precision", {"int8"}))
        ->capture_default_str()
        ->group("Machine");
    app.add_option("--batch", options.batch, "images that go through the network at once [" + batch_default + "]")
        ->type_name("N")
        ->check(CLI::Range(1, 4096))
        ->group("Machine");
    add_threads_option(app, options.threads);
    add_quiet_option(app, options.quiet);
}

void add_threads_option(CLI::App& app, size_t& threads) {
    app.add_option("--threads", threads, std::string(kThreadsHelp))
        ->type_name("N")
        ->check(CLI::Range(0, 4096))
        ->capture_default_str()
        ->group("Machine");
}

void add_quiet_option(CLI::App& app, bool& quiet) {
    app.add_flag("-q,--quiet", quiet, "print errors and notes only")->group("Machine");
}

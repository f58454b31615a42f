#include "app/detect/shipped.h"

#include <filesystem>

#include "app/detect/advice.h"
#include "base/error.h"
#include "predict/model_file.h"

namespace {

// In ../share/tundra or ../share relative to the program; empty if there is none.
std::filesystem::path shipped_detector() {
    std::error_code error;
    const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
    for (const char* folder : {"../share/tundra", "../share"}) {
        const std::filesystem::path file =
            (program.parent_path() / folder / "synth_detector.safetensors").lexically_normal();
        if (!error && std::filesystem::exists(file, error)) return file;
    }
    return {};
}

}  // namespace

DetectorModel read_shipped(const std::string& option, const MachineOptions& machine,
                           const std::function<void(const std::string&)>& note) {
    const std::filesystem::path file = shipped_detector();
    if (file.empty())
        fail(Fault::usage,
             "no {}, and the detector that comes with tundra is not installed; get a MegaDetector: docs/detectors.md",
             option);
    note(
        fmt::format("no {}: the small detector that comes with tundra knows only the synthetic scenes of `tundra "
                    "synth`; for real images {}; `tundra doctor` measures how many images per hour it would reach here",
                    option, detector_advice(machine.open()->kind() == "cuda")));
    return read_detector(file);
}

#include "train/run_facts.h"

#include "train/setup.h"

using nlohmann::json;

json session_facts(const TrainConfig& config, const Device& device, DType precision) {
    json facts = {{"device", device.description()},
                  {"gpu", nullptr},
                  {"precision", precision_name(precision)},
                  {"threads", thread_count(config)}};
    if (const GpuFacts gpu = device.gpu(); gpu.count)
        facts["gpu"] = {{"name", gpu.name},
                        {"count", gpu.count},
                        {"memory_bytes", gpu.memory_bytes},
                        {"driver", gpu.driver},
                        {"libraries", gpu.libraries}};
    return facts;
}

json run_facts(const TrainConfig& config, const Dataset& data, uint64_t total_steps) {
    return {{"seed", config.seed},
            {"task", config.task},
            {"model", config.model},
            {"total_steps", total_steps},
            {"classes", data.classes},
            {"data",
             {{"path", config.data},
              {"pictures", data.fingerprint.images},
              {"bytes", data.fingerprint.bytes},
              {"fingerprint", data.fingerprint.hash}}},
            {"config_hash", config_hash(config)},
            {"finished", false}};
}

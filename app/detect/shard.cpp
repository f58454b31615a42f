#include "app/detect/shard.h"

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"
#include "base/text.h"

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

std::optional<size_t> number_in(const char* variable) {
    const char* const text = std::getenv(variable);
    size_t number = 0;
    if (!text || std::from_chars(text, text + std::string_view(text).size(), number).ec != std::errc())
        return std::nullopt;
    return number;
}

// The journal of an interrupted run begins with JSON that says it, and the result of a finished one does, or is.
std::string shard_in(const fs::path& file, bool journal) {
    std::ifstream in(file);
    std::string text;
    const std::string end = lower(file.extension().string());
    const size_t before = journal ? 17 : end == ".csv" ? 8 : 0;  // a checksum; "#tundra "
    if (journal || end == ".csv" || end == ".jsonl")
        std::getline(in, text);
    else
        text.assign(std::istreambuf_iterator<char>(in), {});
    const json all = json::parse(text.size() > before ? text.substr(before) : "", nullptr, false);
    for (const char* at : {"/shard", "/tundra/shard", "/settings/shard", "/info/custom_metadata/tundra/shard"}) {
        const json::json_pointer path(at);
        if (all.is_object() && all.contains(path) && all[path].is_string()) return all[path];
    }
    return "";
}

struct Place {  // among the processes that were started together
    size_t number, of;
    bool whole;  // `of` is the number of shards; false: this task may have been submitted alone
};

Place own_place(const std::string& option) {
    if (const auto id = number_in("SLURM_ARRAY_TASK_ID")) {
        const size_t count = number_in("SLURM_ARRAY_TASK_COUNT").value_or(1);
        if (*id == 0) fail(Fault::usage, "--shard {}: the tasks of the array count from 0; use --array=1-N", option);
        const bool whole =
            count > 1 && number_in("SLURM_ARRAY_TASK_MIN") == 1u && number_in("SLURM_ARRAY_TASK_MAX") == count;
        return {*id, count, whole};
    }
    constexpr const char* kLaunchers[][2] = {{"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
                                             {"PMI_RANK", "PMI_SIZE"},
                                             {"SLURM_PROCID", "SLURM_STEP_NUM_TASKS"}};
    for (const auto& [rank, size] : kLaunchers)
        if (const auto r = number_in(rank), n = number_in(size); r && n) return {*r + 1, *n, true};
    fail(Fault::usage, "--shard {}: this is neither a task of a Slurm array nor a rank of mpirun or srun", option);
}

}  // namespace

Shard parse_shard(const std::string& text) {
    Shard shard{0, 0};
    int used = 0;
    if (std::sscanf(text.c_str(), "%zu/%zu%n", &shard.number, &shard.of, &used) != 2 || size_t(used) != text.size() ||
        shard.number < 1 || shard.number > shard.of)
        fail(Fault::usage, "--shard {}: must be I/N with I from 1 to N, such as 3/8, or auto", text);
    return shard;
}

void take_own_shard(std::string& shard, std::string& out) {
    const std::string option = shard;
    if (!option.starts_with("auto")) return;
    const Place place = own_place(option);
    constexpr std::string_view kHere = "{shard}";
    if (const size_t at = out.find(kHere); at != out.npos)
        out.replace(at, kHere.size(), std::to_string(place.number));
    else if (place.whole && !std::getenv("SLURM_ARRAY_TASK_ID"))
        fail(Fault::usage, "--shard {}: {} ranks would write one --out {}; put {{shard}} into its name", option,
             place.of, out);
    std::string of = option == "auto" ? "" : option.substr(4);
    if (of.empty()) {
        std::string earlier = shard_in(out + ".journal", true);
        if (earlier.empty())
            earlier = shard_in(fs::is_directory(out) ? fs::path(out) / "survey.json" : fs::path(out), false);
        if (!earlier.empty()) {
            if (parse_shard(earlier).number != place.number)
                fail(Fault::usage, "--shard {}: {} holds shard {}, this process has number {}", option, out, earlier,
                     place.number);
            of = earlier.substr(earlier.find('/'));
        } else if (place.whole) {
            of = fmt::format("/{}", place.of);
        } else {
            fail(Fault::usage,
                 "--shard auto: task {} cannot know of how many shards it is one, because the array is not 1-N or it "
                 "was "
                 "submitted alone; say it: --shard auto/N",
                 place.number);
        }
    }
    shard = fmt::format("{}{}", place.number, of);
    parse_shard(shard);
}

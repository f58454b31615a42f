// Renders the planned shots on several threads and writes images and annotations.
#include "app/synth/synth.h"

#include <atomic>
#include <exception>
#include <fstream>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "app/synth/plan.h"
#include "app/synth/survey.h"
#include "base/error.h"
#include "base/processors.h"
#include "data/jpeg_writer.h"

namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

void refuse_nonsense(const SynthOptions& options) {
    const auto within = [](const char* what, int64_t value, int64_t low, int64_t high) {
        if (value < low || value > high)
            fail(Fault::usage, "synth: {} is {}, must be {} to {}", what, value, low, high);
    };
    within("the number of images", options.images, 10, 10'000'000);
    within("the width", options.width, 64, 8192);
    within("the height", options.height, 64, 8192);
    within("the number of cameras", options.cameras, 2, 999);
    within("the number of threads", options.threads, 0, 1024);
    within("the JPEG quality", options.jpeg_quality, 1, 100);
    if (options.out.empty()) fail(Fault::usage, "synth: no folder to write to");
}

// Scenes are built when their first shot comes up and given back after their last: the shots come sorted by camera.
class SceneShelf {
public:
    SceneShelf(const ShotPlan& plan, int width, int height)
        : plan_(plan), width_(width), height_(height), slots_(plan.sites.size()) {
        for (const Shot& shot : plan.shots) ++slots_[size_t(shot.site)].left;
    }
    const Scene& take(int site) {
        Slot& slot = slots_[size_t(site)];
        std::call_once(slot.once,
                       [&] { slot.scene = std::make_unique<Scene>(plan_.sites[size_t(site)], width_, height_); });
        return *slot.scene;
    }
    void give_back(int site) {
        if (--slots_[size_t(site)].left == 0) slots_[size_t(site)].scene.reset();
    }

private:
    struct Slot {
        std::once_flag once;
        std::unique_ptr<Scene> scene;
        std::atomic<int> left = 0;
    };
    const ShotPlan& plan_;
    int width_, height_;
    std::vector<Slot> slots_;
};

fs::path folder_of(const Shot& shot, SynthTask task) {
    return task == SynthTask::detect ? fs::path("images") : fs::path(shot.split) / shot.label;
}

// `split` empty: all images.
void write_coco(const fs::path& path, const ShotPlan& plan, const std::vector<std::vector<Placed>>& placed,
                const SynthOptions& options, const std::string& split) {
    Json coco;
    coco["info"] = {
        {"description", "Procedural camera-trap images of tundra synth"}, {"seed", options.seed}, {"version", "1.0"}};
    coco["categories"] = {
        {{"id", 1}, {"name", "animal"}}, {{"id", 2}, {"name", "person"}}, {{"id", 3}, {"name", "vehicle"}}};
    coco["images"] = Json::array();
    coco["annotations"] = Json::array();
    int box_id = 0;
    for (size_t i = 0; i < plan.shots.size(); ++i) {
        const Shot& shot = plan.shots[i];
        if (!split.empty() && shot.split != split) continue;
        coco["images"].push_back({{"id", i + 1},
                                  {"file_name", "images/" + shot.name},
                                  {"width", options.width},
                                  {"height", options.height},
                                  {"date_captured", exif_date(shot.seconds)},
                                  {"location", fmt::format("cam{:02}", shot.site + 1)},
                                  {"seq_id", shot.burst},
                                  {"frame_num", shot.frame}});
        for (const Placed& one : placed[i]) {
            const int w = one.box.right - one.box.left, h = one.box.bottom - one.box.top;
            coco["annotations"].push_back({{"id", ++box_id},
                                           {"image_id", i + 1},
                                           {"category_id", category_of(one.kind) + 1},
                                           {"bbox", {one.box.left, one.box.top, w, h}},
                                           {"area", w * h},
                                           {"iscrowd", 0},
                                           {"species", name_of(one.kind)}});
        }
    }
    std::ofstream file(path, std::ios::binary);
    file << coco.dump(1) << '\n';
    file.close();
    if (!file) fail(Fault::environment, "{}: cannot write the annotations", path.string());
}

}  // namespace

SynthSummary synthesize(const SynthOptions& options, const std::function<void(int, int)>& progress) {
    refuse_nonsense(options);
    const ShotPlan plan = plan_shots(options);
    const int total = int(plan.shots.size());
    for (const Shot& shot : plan.shots) fs::create_directories(options.out / folder_of(shot, options.task));

    std::vector<std::vector<Placed>> placed(plan.shots.size());
    SceneShelf shelf(plan, options.width, options.height);
    std::atomic<int> next = 0;
    std::mutex reporting;
    int done = 0;
    std::exception_ptr trouble;
    const auto work = [&] {
        try {
            for (int i; (i = next++) < total;) {
                const Shot& shot = plan.shots[size_t(i)];
                const SynthImage image = render_shot(shelf.take(shot.site), shot);
                shelf.give_back(shot.site);
                placed[size_t(i)] = image.placed;
                const SynthSite& site = plan.sites[size_t(shot.site)];
                const Exif exif{
                    .date = exif_date(shot.seconds), .make = site.make, .model = site.model, .serial = site.serial};
                write_jpeg((options.out / folder_of(shot, options.task) / shot.name).string(), image.rgb.data(),
                           size_t(options.height), size_t(options.width), {.quality = options.jpeg_quality}, &exif);
                const std::lock_guard lock(reporting);
                ++done;
                if (progress) progress(done, total);
            }
        } catch (...) {
            const std::lock_guard lock(reporting);
            if (!trouble) trouble = std::current_exception();
            next = total;
        }
    };
    const int threads = options.threads > 0 ? options.threads : usable_processors();
    {
        std::vector<std::jthread> others;
        for (int i = 1; i < std::min(threads, total); ++i) others.emplace_back(work);
        work();
    }
    if (trouble) std::rethrow_exception(trouble);

    SynthSummary summary{.images = total, .cameras = options.cameras};
    for (const auto& boxes : placed) summary.boxes += int(boxes.size());
    if (options.task == SynthTask::detect)
        for (const char* split : {"", "train", "validation", "test"})
            write_coco(options.out / (std::string("annotations") + (*split ? "_" : "") + split + ".json"), plan, placed,
                       options, split);
    if (options.task == SynthTask::survey) write_season(options, plan, placed);
    return summary;
}

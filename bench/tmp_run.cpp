#include <cstdio>
#include "data/synth.h"
#include "train/run.h"
int main(int argc, char** argv) {
    if (argc > 1 && std::string(argv[1]) == "synth") { synthesize({.out = "/tmp/q", .pictures = 2600, .width = 320, .height = 240, .seed = 1}); return 0; }
    TrainConfig c; c.data = "/tmp/q"; c.image_size = 64; c.epochs = 8; c.lr = argc > 2 ? atof(argv[2]) : 0.02; c.batch = 32;
    for (int i = 3; i < argc; ++i) { std::string a = argv[i]; auto k = a.find('='); assign(c, {{a.substr(0, k), a.substr(k + 1), "arg"}}); }
    RunEvents e;
    e.planned = [](const RunPlan& p) { fmt::print("train {} val {} test {} steps {} mem {} dev {} {}\n", p.train_pictures, p.validation_pictures, p.test_pictures, p.total_steps, p.memory_bytes, p.device, p.schedule); for (auto& n : p.notes) fmt::print("note {}\n", n); };
    e.step = [](const StepReport& r) { if (r.step % 20 == 0) fmt::print("step {} loss {:.3f} {:.1f} img/s left {:.0f}\n", r.step, r.loss, r.images_per_second, r.seconds_left), fflush(stdout); };
    e.epoch = [](const EpochReport& r) { fmt::print("epoch {} train {:.3f} {:.3f} val {:.3f} {:.3f} {:.1f}s\n", r.epoch, r.train_loss, r.train_accuracy, r.validation_loss, r.validation_accuracy, r.seconds); fflush(stdout); };
    e.note = [](const std::string& n) { fmt::print("{}\n", n); };
    try {
        RunOptions o; o.folder = argc > 1 ? argv[1] : "/tmp/qrun"; o.fresh = true;
        auto r = train_run(c, o, e);
        fmt::print("end {} val {} test {} bad {}\n", int(r.end), r.validation_accuracy, r.test_accuracy, r.bad_files);
    } catch (const Error& x) { fmt::print("ERROR {}\n", x.what()); return 1; }
}

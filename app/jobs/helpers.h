// Several GPUs for one long run: `--device cuda:0,1,2` of detect, survey and classify. The process that the user
// started works on the first GPU. For each other GPU it starts itself once more, hands over a part of the images, and
// writes the records that these helpers send back into its one journal. So journal, progress and result are those of a
// single process, and any number of GPUs resumes the run.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "app/jobs/machine.h"
#include "base/children.h"

struct HandedWork {
    std::string base = {};                 // of the images' names
    std::vector<std::string> images = {};  // raw names
    std::vector<std::string> records = {};
};

// Runs `work` with machine.device as the GPU of this process. Errors of a helper are told by the process that started
// it. Fault::usage if a GPU is not there.
int run_on_gpus(MachineOptions& machine, const std::function<int()>& work);

const HandedWork* handed_work();              // what this helper was handed; null: this process is none
void send_record(const std::string& record);  // from a helper

class Helpers {
public:
    using Take = std::function<void(const std::string& record)>;

    explicit Helpers(const std::vector<int>& gpus) : gpus_(gpus) {}
    ~Helpers();  // ends those that still work
    Helpers(const Helpers&) = delete;

    size_t parts(size_t pieces) const;   // of so much work, the part of this process included
    void start(const HandedWork& part);  // the helper on the next GPU
    // Takes what the helpers have sent; `wait`: for a tenth of a second if there is nothing. False: all have ended. The
    // error of a helper, or its death, is thrown when all have ended.
    bool take(const Take& record, bool wait);
    void stop(const Take& record);  // as a signal would; takes their last records

private:
    struct Helper {
        Child child;  // socket -1: it has ended
        int gpu;
        std::string received = {}, unsent = {};
        size_t sent = 0;  // of `unsent`
    };
    static void write(Helper& helper);
    static bool read(Helper& helper);  // false: it has ended
    void signal(int number) const;
    void fail_with(const Take& record, int code, const std::string& text);

    std::vector<int> gpus_;
    std::vector<Helper> helpers_;
    size_t started_ = 0;
    bool stopping_ = false;
};

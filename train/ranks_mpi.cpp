// Ranks over MPI: a library of its own, which train/ranks.cpp opens where a launcher has started several processes, so
// that the program needs no MPI elsewhere.
//
// One thread makes all calls of MPI. No MPI works on a transfer while nobody calls it, so this thread asks again and
// again while the others compute; and MPI_THREAD_FUNNELED, which every MPI has, is enough. It also tells the next rank
// every second that this process lives.
#include <mpi.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/ranks.h"
#include "train/life.h"

namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr auto kBeat = 1s;
constexpr auto kPatience = 5s;              // with MPI_Abort
constexpr auto kPause = 100us;              // between two looks at a sum
constexpr auto kHurry = 2ms;                // how long to look at a small one without pauses
constexpr int kLost = 75, kBeatTag = 1;     // Fault::environment
constexpr size_t kPiece = size_t(1) << 30;  // MPI counts in int

void check(int code, const char* what) {
    if (code == MPI_SUCCESS) return;
    char text[MPI_MAX_ERROR_STRING];
    int length = 0;
    MPI_Error_string(code, text, &length);
    fail(Fault::environment, "{}: {}", what, std::string(text, size_t(length)));
}

// Stages that run one after the other; each starts an operation of MPI.
using Stages = std::deque<std::function<MPI_Request()>>;

struct Channel {  // its jobs run one after the other, in the order in which every rank added them
    MPI_Comm comm = MPI_COMM_NULL;
    std::deque<Stages> jobs = {};
    MPI_Request request = MPI_REQUEST_NULL;
    bool started = false;
};

class MpiRanks final : public Ranks {
public:
    MpiRanks() {
        thread_ = std::thread([this] { serve(); });
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return ready_; });
        if (failure_.empty()) return;
        lock.unlock();
        thread_.join();
        fail(Fault::environment, "MPI: {}", failure_);
    }

    ~MpiRanks() override {
        add(small_, {[this] { return start(MPI_Ibarrier, "MPI_Ibarrier", small_.comm); }});
        wait_for(small_);
        ending_ = true;
        changed_.notify_all();
        thread_.join();
    }

    void sum(std::span<double> values, size_t rows) override {
        std::vector<double> all(values.size() * count);
        add(small_, {[&] {
                return start(MPI_Iallgather, "MPI_Iallgather", values.data(), int(values.size()), MPI_DOUBLE,
                             all.data(), int(values.size()), MPI_DOUBLE, small_.comm);
            }});
        wait_for(small_);
        const size_t width = values.size() / rows;
        add_rows(all.data(), count * rows, width);
        std::copy_n(all.begin(), width, values.begin());
    }

    // Every rank gets its part of the array from all ranks, adds them up and sends the sum to all: as many bytes as the
    // ring takes, and the order of the additions is ours.
    void start_sum(std::span<float* const> rows, size_t size, float factor) override {
        if (size == 0) return;
        const auto begin = [size, this](size_t r) { return int(size * r / count); };
        std::vector<int> counts, offsets, own, own_offsets;
        const size_t of_rank = rows.size();
        const int width = begin(rank + 1) - begin(rank);
        for (size_t r = 0; r < count; ++r) {
            counts.push_back(begin(r + 1) - begin(r)), offsets.push_back(begin(r));
            own.push_back(width), own_offsets.push_back(width * int(r * of_rank));
        }
        float* const data = rows[0];
        // One copy for both stages: MPI may read the counts until the operation is done.
        const auto tables =
            std::make_shared<std::array<std::vector<int>, 4>>(std::array{counts, offsets, own, own_offsets});
        Stages stages;
        for (size_t row = 0; row < of_rank; ++row)
            stages.push_back(
                [this, from = rows[row], to = row * size_t(width), all = size_t(width) * count * of_rank, tables] {
                    parts_.resize(std::max(parts_.size(), all));
                    const auto& [counts, offsets, own, own_offsets] = *tables;
                    return start(MPI_Ialltoallv, "MPI_Ialltoallv", from, counts.data(), offsets.data(), MPI_FLOAT,
                                 parts_.data() + to, own.data(), own_offsets.data(), MPI_FLOAT, large_.comm);
                });
        const auto collect = [this, data, width, tables, factor, all = count * of_rank] {
            add_rows(parts_.data(), all, size_t(width));
            const auto& [counts, offsets, own, own_offsets] = *tables;
            float* const to = data + offsets[rank];
            for (size_t i = 0; i < size_t(width); ++i) to[i] = factor * parts_[i];
            return start(MPI_Iallgatherv, "MPI_Iallgatherv", MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, data, counts.data(),
                         offsets.data(), MPI_FLOAT, large_.comm);
        };
        stages.push_back(collect);
        stages.push_back([tables] { return MPI_REQUEST_NULL; });
        add(large_, std::move(stages));
    }

    void wait() override {
        const auto begin = Clock::now();
        wait_for(large_);
        waited_seconds += std::chrono::duration<double>(Clock::now() - begin).count();
    }

    std::vector<std::string> gather(const std::string& text) override {
        const int length = int(text.size());
        std::vector<int> lengths(count), offsets(count);
        std::string all;
        add(small_, {[&] {
                         return start(MPI_Iallgather, "MPI_Iallgather", &length, 1, MPI_INT, lengths.data(), 1, MPI_INT,
                                      small_.comm);
                     },
                     [&] {
                         size_t bytes = 0;
                         for (size_t r = 0; r < count; ++r) offsets[r] = int(bytes), bytes += size_t(lengths[r]);
                         all.resize(bytes);
                         return start(MPI_Iallgatherv, "MPI_Iallgatherv", text.data(), length, MPI_BYTE, all.data(),
                                      lengths.data(), offsets.data(), MPI_BYTE, small_.comm);
                     }});
        wait_for(small_);
        std::vector<std::string> texts;
        for (size_t r = 0; r < count; ++r) texts.push_back(all.substr(size_t(offsets[r]), size_t(lengths[r])));
        return texts;
    }

    void broadcast(std::span<std::byte> bytes) override {
        for (size_t done = 0; done < bytes.size(); done += kPiece)
            add(small_, {[this, piece = bytes.subspan(done, std::min(kPiece, bytes.size() - done))] {
                    return start(MPI_Ibcast, "MPI_Ibcast", piece.data(), int(piece.size()), MPI_BYTE, 0, small_.comm);
                }});
        wait_for(small_);
    }

    void abort(int code) override {
        abort_code_ = code;
        changed_.notify_all();
        std::this_thread::sleep_for(2 * kPatience);  // the thread ends this process
    }

private:
    template <class Function, class... Arguments>
    static MPI_Request start(Function* function, const char* name, Arguments... arguments) {
        MPI_Request request = MPI_REQUEST_NULL;
        check(function(arguments..., &request), name);
        return request;
    }

    void add(Channel& channel, Stages stages) {
        const std::lock_guard lock(mutex_);
        channel.jobs.push_back(std::move(stages));
        changed_.notify_all();
    }

    void wait_for(Channel& channel) {
        waiting_ = true;
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return channel.jobs.empty(); });
        waiting_ = false;
    }

    // ---- everything below runs in the thread
    void serve() {
        try {
            open();
        } catch (const std::exception& e) {
            failure_ = e.what();
        }
        {
            const std::lock_guard lock(mutex_);
            ready_ = true;
        }
        changed_.notify_all();
        if (!failure_.empty()) return;
        try {
            while (!ending_) {
                if (abort_code_) end(abort_code_);
                if (count > 1) beat();
                progress(large_);
                const bool hurry = progress(small_);
                const Clock::duration still = Clock::now() - moved_;
                std::unique_lock lock(mutex_);
                if (hurry && still < kHurry) {
                    lock.unlock();
                    sched_yield();                                          // somebody waits for it
                } else if (!small_.jobs.empty() || !large_.jobs.empty()) {  // the longer, the less it matters
                    changed_.wait_for(lock, std::clamp<Clock::duration>(still / 50, kPause, 20 * kPause));
                } else {
                    changed_.wait_for(lock, 200ms, [this] {
                        return !small_.jobs.empty() || !large_.jobs.empty() || ending_ || abort_code_;
                    });
                }
            }
            close();
        } catch (const std::exception& e) {
            say(e.what());
            end(kLost);
        }
    }

    void open() {
        int level = 0, size = 1, number = 0;
        check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &level), "MPI_Init_thread");
        require(level >= MPI_THREAD_FUNNELED, "it has no threads");
        MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
        for (Channel* channel : {&small_, &large_}) check(MPI_Comm_dup(MPI_COMM_WORLD, &channel->comm), "MPI_Comm_dup");
        MPI_Comm_size(MPI_COMM_WORLD, &size);
        MPI_Comm_rank(MPI_COMM_WORLD, &number);
        rank = size_t(number), count = size_t(size);
        char host[MPI_MAX_PROCESSOR_NAME];
        int length = 0;
        MPI_Get_processor_name(host, &length);
        machine.assign(host, size_t(length));
        previous_ = int((rank + count - 1) % count), next_ = int((rank + 1) % count);
        std::vector<char> hosts(size_t(size) * sizeof host);
        check(MPI_Allgather(host, sizeof host, MPI_BYTE, hosts.data(), sizeof host, MPI_BYTE, MPI_COMM_WORLD),
              "MPI_Allgather");
        machine_before_ = hosts.data() + size_t(previous_) * sizeof host;
    }

    void close() {
        for (MPI_Request* request : {&listening_, &beating_})
            if (*request != MPI_REQUEST_NULL) {
                MPI_Cancel(request);
                MPI_Request_free(request);
            }
        MPI_Finalize();
    }

    // Whether something of this channel is on its way.
    bool progress(Channel& channel) {
        Stages* job = nullptr;
        {
            const std::lock_guard lock(mutex_);
            if (channel.jobs.empty()) return false;
            job = &channel.jobs.front();
        }
        int done = 1;
        if (channel.started) check(MPI_Test(&channel.request, &done, MPI_STATUS_IGNORE), "MPI_Test");
        if (!done) return true;
        if (channel.started) job->pop_front();
        moved_ = Clock::now();
        channel.started = !job->empty();
        if (channel.started) {
            channel.request = job->front()();
            return true;
        }
        const std::lock_guard lock(mutex_);
        channel.jobs.pop_front();
        changed_.notify_all();
        return !channel.jobs.empty();
    }

    void beat() {
        const Clock::time_point now = Clock::now();
        int done = 1;
        if (listening_ != MPI_REQUEST_NULL) check(MPI_Test(&listening_, &done, MPI_STATUS_IGNORE), "MPI_Test");
        if (done) {
            heard_ = now;
            check(MPI_Irecv(&received_, 1, MPI_BYTE, previous_, kBeatTag, MPI_COMM_WORLD, &listening_), "MPI_Irecv");
        }
        if (beating_ != MPI_REQUEST_NULL) check(MPI_Test(&beating_, &done, MPI_STATUS_IGNORE), "MPI_Test");
        if (beating_ == MPI_REQUEST_NULL && now - beat_ > kBeat) {
            beat_ = now;
            look_for_life();
            check(MPI_Isend(&sent_, 1, MPI_BYTE, next_, kBeatTag, MPI_COMM_WORLD, &beating_), "MPI_Isend");
        }
        if (now - std::exchange(asked_, now) > kPatience) heard_ = now;  // this one was stopped, and learns nothing
        if (now - heard_ <= kSilence) return;
        say(fmt::format("rank {} on {} has not answered for {} s and is lost", previous_, machine_before_,
                        kSilence.count()));
        end(kLost);
    }

    void look_for_life() {
        if (!life_.lost(!watched || waiting_)) return;
        say(fmt::format("has done nothing for {} s; it may wait for a drive or a GPU", kSilence.count()));
        end(kLost);
    }

    // Where MPI cannot end the other ranks, because it does not reach them either, this one ends at least.
    [[noreturn]] static void end(int code) {
        std::thread([code] {
            std::this_thread::sleep_for(kPatience);
            std::_Exit(code);
        }).detach();
        MPI_Abort(MPI_COMM_WORLD, code);
        std::this_thread::sleep_for(2 * kPatience);
        std::_Exit(code);
    }

    void say(const std::string& text) const {
        const std::string line = fmt::format("tundra: {}: {}{}\n", name(), text,
                                             checkpoints.empty() ? "" : "; the checkpoints are in " + checkpoints);
        std::fputs(line.c_str(), stderr);
        std::fflush(stderr);
    }

    std::thread thread_;
    std::mutex mutex_;
    std::condition_variable changed_;
    bool ready_ = false;
    std::string failure_, machine_before_;
    std::atomic<bool> ending_ = false, waiting_ = false;  // waiting_: the caller is, for other ranks
    std::atomic<int> abort_code_ = 0;
    Channel small_, large_;
    std::vector<float> parts_;  // of the large sum: this rank's part from every rank
    int previous_ = 0, next_ = 0;
    MPI_Request listening_ = MPI_REQUEST_NULL, beating_ = MPI_REQUEST_NULL;
    char received_ = 0, sent_ = 0;
    Clock::time_point moved_ = {};  // when the last stage began
    Clock::time_point heard_ = Clock::now(), asked_ = heard_, beat_ = {};
    LifeWatch life_;
};

}  // namespace

extern "C" Ranks* tundra_mpi_ranks() { return new MpiRanks; }
extern "C" void tundra_mpi_version(std::string& version) {
    char text[MPI_MAX_LIBRARY_VERSION_STRING];
    int length = 0;
    MPI_Get_library_version(text, &length);
    version.assign(text, size_t(length));
    version = version.substr(0, version.find_first_of(",\n"));
}

// Ranks of one machine without MPI, one for each GPU that --device names: a parent starts this program once per rank
// and hands on what they tell each other. An exchange takes bytes of every rank and gives each the bytes of all. A
// thread of each rank sends a sign of life every second.
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <stop_token>
#include <thread>
#include <utility>

#include "base/children.h"
#include "base/error.h"
#include "train/life.h"
#include "train/ranks.h"

namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

// In place of a size: this rank has done its work, lives, waits for a drive.
constexpr uint64_t kEnd = uint64_t(-1), kBeat = uint64_t(-2), kHangs = uint64_t(-3);
constexpr size_t kMostRanks = 64;
constexpr auto kPatience = 5s;  // with the end of a process

std::string host_name() {
    char host[256] = "";
    gethostname(host, sizeof host - 1);
    return host;
}

class LocalRanks final : public Ranks {
public:
    explicit LocalRanks(const ChildPlace& place) : socket_(place.socket) {
        rank = place.number, count = place.of;
        machine = host_name();
        sigset_t all, before;  // signals are for the thread that trains
        sigfillset(&all);
        pthread_sigmask(SIG_BLOCK, &all, &before);
        beat_ = std::jthread([this](const std::stop_token& stop) { beat(stop); });
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
    }
    ~LocalRanks() override {
        beat_.request_stop();
        beat_.join();
        tell(kEnd);
        char answer;
        while (recv(socket_, &answer, 1, 0) < 0 && errno == EINTR) {
        }
        close(socket_);
    }

    void sum(std::span<double> values, size_t rows) override {
        const size_t width = values.size() / rows;
        std::vector<double> all;
        for (const std::vector<double>& of_rank : ::gather(*this, std::span<const double>(values)))
            all.insert(all.end(), of_rank.begin(), of_rank.end());
        add_rows(all.data(), count * rows, width);
        std::copy_n(all.begin(), width, values.begin());
    }
    void start_sum(std::span<float* const> rows, size_t width, float factor) override {
        std::vector<float> own, all;
        for (const float* row : rows) own.insert(own.end(), row, row + width);
        for (const std::vector<float>& of_rank : ::gather(*this, std::span<const float>(own)))
            all.insert(all.end(), of_rank.begin(), of_rank.end());
        add_rows(all.data(), count * rows.size(), width);
        for (size_t i = 0; i < width; ++i) rows[0][i] = factor * all[i];
    }
    std::vector<std::string> gather(const std::string& text) override {
        tell(text.size(), text);
        waiting_ = true;
        std::vector<std::string> texts(count);
        for (std::string& of_rank : texts) {
            uint64_t bytes = 0;
            receive(&bytes, sizeof bytes);
            of_rank.resize(bytes);
            receive(of_rank.data(), bytes);
        }
        waiting_ = false;
        return texts;
    }
    void broadcast(std::span<std::byte> bytes) override {
        const std::string given =
            gather(first() ? std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()) : "")[0];
        std::memcpy(bytes.data(), given.data(), bytes.size());
    }
    void abort(int code) override { std::_Exit(code); }  // the parent ends the others

private:
    bool tell(uint64_t size, const std::string& text = "") {
        const std::lock_guard lock(mutex_);
        return send_all(socket_, &size, sizeof size) && send_all(socket_, text.data(), text.size());
    }
    void receive(void* data, size_t bytes) {
        if (!receive_all(socket_, data, bytes)) fail(Fault::environment, "the process that started this rank is gone");
    }
    void beat(const std::stop_token& stop) {
        LifeWatch life;
        std::condition_variable_any changed;
        std::mutex mutex;
        std::unique_lock lock(mutex);
        do {
            tell(life.lost(!watched || waiting_) ? kHangs : kBeat);
        } while (!changed.wait_for(lock, stop, 1s, [&] { return stop.stop_requested(); }));
    }

    const int socket_;
    std::mutex mutex_;  // one message at a time
    std::atomic<bool> waiting_ = false;
    std::jthread beat_;
};

// ---- the parent

std::array<volatile pid_t, kMostRanks> children = {};
volatile sig_atomic_t handed_on = 0, signals = 0;  // the last one, and how many there were

void send_to_children(int signal) {
    for (const pid_t child : children)
        if (child > 0) signal_child(child, signal, signals);
}
void hand_on(int signal) {
    handed_on = signal;
    signals = signals + 1;
    send_to_children(signal);
}

struct Rank {
    int socket = -1;
    std::string received = {};                // not taken apart yet
    std::optional<std::string> message = {};  // with its size before it; until that of every rank is there
    bool ended = false, hangs = false;
    std::optional<Clock::time_point> heard = {};

    void take(const char* bytes, size_t count) {
        received.append(bytes, count);
        heard = Clock::now();
        for (uint64_t size = 0; received.size() >= sizeof size;) {
            std::memcpy(&size, received.data(), sizeof size);
            const bool told = size >= kHangs;
            if (!told && received.size() < sizeof size + size) return;
            if (size == kEnd) ended = true;
            if (size == kHangs) hangs = true;
            if (!told) message = received.substr(0, sizeof size + size);
            received.erase(0, sizeof size + (told ? 0 : size));
        }
    }
};

int code_of(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status); }

// Not for ever: one that waits within the system for a drive or a GPU does not even end when it is killed.
std::optional<int> status_soon(pid_t process) {
    int status = 0;
    for (const auto last = Clock::now() + kPatience; Clock::now() < last; std::this_thread::sleep_for(10ms))
        if (waitpid(process, &status, WNOHANG) == process) return status;
    return std::nullopt;
}

// All ranks are ended with this one. `text` says why, if it has not told so itself.
void end_all(size_t rank, const std::string& text, const std::filesystem::path& checkpoints) {
    send_to_children(SIGKILL);  // first: nobody may read what is said
    if (!text.empty()) {
        std::error_code ignored;
        const bool saved = std::filesystem::exists(checkpoints, ignored);
        const std::string line =
            fmt::format("tundra: rank {} on {} {}{}\n", rank, host_name(), text,
                        saved ? "; the same command resumes from the checkpoints in " + checkpoints.string() : "");
        std::fputs(line.c_str(), stderr);
    }
    for (const auto last = Clock::now() + kPatience; Clock::now() < last; std::this_thread::sleep_for(10ms))
        if (waitpid(-1, nullptr, WNOHANG) < 0 && errno == ECHILD) return;
}

// Its socket is closed, but it has not done its work.
int end_with(size_t rank, const std::filesystem::path& checkpoints) {
    const std::optional<int> known = status_soon(children[rank]);
    if (!known) {
        end_all(rank, "does not end", checkpoints);
        return int(Fault::environment);
    }
    const int status = *known, code = code_of(status);
    children[rank] = 0;
    const bool killed = WIFSIGNALED(status) && WTERMSIG(status) != handed_on;
    const std::string how = killed ? fmt::format("was ended by signal {}, and the others with it", WTERMSIG(status))
                            : code == 0 ? "was ended by itself, and the others with it"
                                        : "";
    end_all(rank, how, checkpoints);
    return how.empty() ? code : int(Fault::environment);
}

int serve(std::vector<Rank>& ranks, const std::filesystem::path& checkpoints) {
    std::vector<char> bytes(size_t(1) << 20);
    Clock::time_point sent = Clock::now(), turn = sent;
    const std::string silent = fmt::format("has not answered for {} s and is lost", kSilence.count());
    const auto lost = [&](size_t rank, const std::string& text) {
        end_all(rank, text, checkpoints);
        return int(Fault::environment);
    };
    for (;;) {
        std::vector<pollfd> ready;
        for (const Rank& rank : ranks) ready.push_back({rank.socket, POLLIN, 0});
        if (poll(ready.data(), ready.size(), 1000) < 0) continue;  // a signal, which was handed on
        for (size_t r = 0; r < ranks.size(); ++r) {
            if (!ready[r].revents) continue;
            const ssize_t got = recv(ranks[r].socket, bytes.data(), bytes.size(), 0);
            if (got == 0 || (got < 0 && errno != EINTR)) return end_with(r, checkpoints);
            if (got > 0) ranks[r].take(bytes.data(), size_t(got));
        }
        const auto now = Clock::now();
        if (now - std::exchange(turn, now) > kPatience)  // this process was stopped, and learns nothing
            for (Rank& rank : ranks)
                if (rank.heard) rank.heard = now;
        for (size_t r = 0; r < ranks.size(); ++r) {
            if (ranks[r].hangs)
                return lost(
                    r, fmt::format("has done nothing for {} s; it may wait for a drive or a GPU", kSilence.count()));
            if (!ranks[r].ended && ranks[r].heard && now - *ranks[r].heard > kSilence) return lost(r, silent);
        }
        if (handed_on && Clock::now() - sent > 1s) send_to_children(handed_on), sent = Clock::now();
        if (std::ranges::all_of(ranks, &Rank::ended)) break;
        if (!std::ranges::all_of(ranks, [](const Rank& rank) { return rank.message.has_value(); })) continue;
        std::string all;
        for (Rank& rank : ranks) all += *std::exchange(rank.message, {});
        for (size_t r = 0; r < ranks.size(); ++r)
            if (!send_all(ranks[r].socket, all.data(), all.size()) && errno == EAGAIN) return lost(r, silent);
    }
    for (const Rank& rank : ranks) close(rank.socket);
    int code = 0;
    for (size_t r = 0; r < ranks.size(); ++r) {
        const std::optional<int> status = status_soon(children[r]);
        if (!status) return lost(r, "does not end");
        code = std::max(code, code_of(*status));
    }
    return code;
}

}  // namespace

std::unique_ptr<Ranks> local_ranks() {
    const auto place = place_as_child();
    return place ? std::make_unique<LocalRanks>(*place) : nullptr;
}

std::optional<int> run_on_each_gpu(const std::string& device, const std::filesystem::path& checkpoints) {
    const size_t count = gpus_in(device).size();
    if (count < 2 || launched() > 1 || place_as_child()) return std::nullopt;
    if (count > kMostRanks) fail(Fault::usage, "--device {}: names more than {} GPUs", device, kMostRanks);
    struct sigaction action = {};
    action.sa_handler = hand_on;
    for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGUSR1}) {
        struct sigaction now = {};
        sigaction(signal, nullptr, &now);
        if (signal != SIGHUP || now.sa_handler != SIG_IGN) sigaction(signal, &action, nullptr);  // nohup ignores it
    }
    std::vector<Rank> ranks;
    for (size_t r = 0; r < count; ++r) {
        const Child child = start_child(r, count);
        children[r] = child.process;
        ranks.push_back({.socket = child.socket});
        const timeval limit{.tv_sec = kSilence.count(), .tv_usec = 0};  // a rank that takes nothing hangs
        setsockopt(child.socket, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    }
    return serve(ranks, checkpoints);
}

// Ranks of one machine without MPI, one for each GPU that --device names: a parent starts this program once per rank
// and hands on what they tell each other. An exchange takes bytes of every rank and gives each the bytes of all.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>

#include "base/error.h"
#include "train/ranks.h"

namespace {

constexpr const char* kVariable = "TUNDRA_LOCAL_RANK";  // "1 2 5": rank, ranks, socket
constexpr uint64_t kEnd = uint64_t(-1);                 // in place of a size: this rank has done its work
constexpr size_t kMostRanks = 64;

bool send_all(int socket, const void* data, size_t bytes) {
    const auto* at = static_cast<const char*>(data);
    while (bytes) {
        const ssize_t sent = send(socket, at, bytes, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) return false;
        at += sent, bytes -= size_t(sent);
    }
    return true;
}

void receive(int socket, void* data, size_t bytes) {
    auto* at = static_cast<char*>(data);
    while (bytes) {
        const ssize_t got = recv(socket, at, bytes, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) fail(Fault::environment, "the process that started this rank is gone");
        at += got, bytes -= size_t(got);
    }
}

class LocalRanks final : public Ranks {
public:
    LocalRanks(size_t number, size_t ranks, int socket) : socket_(socket) {
        rank = number, count = ranks;
        char host[256] = "";
        gethostname(host, sizeof host - 1);
        machine = host;
    }
    ~LocalRanks() override {
        send_all(socket_, &kEnd, sizeof kEnd);
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
        const uint64_t size = text.size();
        if (!send_all(socket_, &size, sizeof size) || !send_all(socket_, text.data(), text.size()))
            fail(Fault::environment, "the process that started this rank is gone");
        std::vector<std::string> texts(count);
        for (std::string& of_rank : texts) {
            uint64_t bytes = 0;
            receive(socket_, &bytes, sizeof bytes);
            of_rank.resize(bytes);
            receive(socket_, of_rank.data(), bytes);
        }
        return texts;
    }
    void broadcast(std::span<std::byte> bytes) override {
        const std::string given =
            gather(first() ? std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()) : "")[0];
        std::memcpy(bytes.data(), given.data(), bytes.size());
    }
    void abort(int code) override { std::_Exit(code); }  // the parent ends the others

private:
    const int socket_;
};

// ---- the parent

std::array<volatile pid_t, kMostRanks> children = {};
volatile sig_atomic_t handed_on = 0;

void send_to_children(int signal) {
    for (const pid_t child : children)
        if (child > 0) kill(child, signal);
}
void hand_on(int signal) {
    handed_on = signal;
    send_to_children(signal);
}

std::vector<std::string> own_command() {
    std::ifstream in("/proc/self/cmdline", std::ios::binary);
    const std::string all{std::istreambuf_iterator<char>(in), {}};
    std::vector<std::string> words;
    for (size_t at = 0; at < all.size(); at += words.back().size() + 1) words.emplace_back(all.c_str() + at);
    return words;
}

struct Child {
    int socket = -1;
    std::string received = {};

    // Bytes of its message, or nothing yet. An end has none.
    std::optional<std::string_view> message() const {
        uint64_t size = 0;
        if (received.size() < sizeof size) return std::nullopt;
        std::memcpy(&size, received.data(), sizeof size);
        if (size == kEnd) size = 0;
        if (received.size() < sizeof size + size) return std::nullopt;
        return std::string_view(received).substr(sizeof size);
    }
    bool ends() const {
        return received.size() == sizeof kEnd && std::memcmp(&kEnd, received.data(), sizeof kEnd) == 0;
    }
};

Child start(size_t rank, size_t count, const std::vector<std::string>& words) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        fail(Fault::environment, "no sockets for the ranks: {}", std::strerror(errno));
    const std::string variable = fmt::format("{} {} {}", rank, count, pair[1]);
    std::vector<char*> arguments;
    for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    const pid_t parent = getpid(), child = fork();
    if (child < 0) fail(Fault::environment, "no process for a rank: {}", std::strerror(errno));
    if (child == 0) {
        setpgid(0, 0);  // the terminal's Ctrl-C comes through the parent, once
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) _exit(1);
        fcntl(pair[1], F_SETFD, 0);
        setenv(kVariable, variable.c_str(), 1);
        execv("/proc/self/exe", arguments.data());
        _exit(127);
    }
    children[rank] = child;
    close(pair[1]);
    return {.socket = pair[0]};
}

int status_of(pid_t child) {
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
}
int code_of(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status); }

// The code of the first rank that failed, else the largest.
int collect(std::optional<size_t> failed) {
    int code = 0;
    if (failed) {
        const int status = status_of(children[*failed]);
        code = code_of(status);
        if ((WIFSIGNALED(status) && WTERMSIG(status) != handed_on) || code == 0) {
            const std::string how = code ? fmt::format("signal {}", WTERMSIG(status)) : "itself";
            const std::string line = fmt::format(
                "tundra: rank {} was ended by {}, and the others with it; the same command resumes from the last "
                "checkpoint\n",
                *failed, how);
            std::fputs(line.c_str(), stderr);
            code = int(Fault::environment);
        }
        children[*failed] = 0;
        send_to_children(SIGKILL);
    }
    for (volatile pid_t& child : children) {
        if (child <= 0) continue;
        const int ended = code_of(status_of(child));
        child = 0;
        if (!failed) code = std::max(code, ended);
    }
    return code;
}

int serve(std::vector<Child>& ranks) {
    std::vector<char> bytes(size_t(1) << 20);
    for (;;) {
        std::vector<pollfd> ready;
        for (const Child& rank : ranks) ready.push_back({rank.socket, POLLIN, 0});
        if (poll(ready.data(), ready.size(), -1) < 0) continue;  // a signal, which was handed on
        for (size_t r = 0; r < ranks.size(); ++r) {
            if (!ready[r].revents) continue;
            const ssize_t got = recv(ranks[r].socket, bytes.data(), bytes.size(), 0);
            if (got == 0 || (got < 0 && errno != EINTR)) return collect(r);
            if (got > 0) ranks[r].received.append(bytes.data(), size_t(got));
        }
        if (std::ranges::all_of(ranks, &Child::ends)) {
            for (const Child& rank : ranks) close(rank.socket);
            return collect(std::nullopt);
        }
        if (!std::ranges::all_of(ranks, [](const Child& rank) { return rank.message() && !rank.ends(); })) continue;
        std::string all;
        for (Child& rank : ranks) all += std::exchange(rank.received, {});
        for (const Child& rank : ranks) send_all(rank.socket, all.data(), all.size());
    }
}

}  // namespace

std::unique_ptr<Ranks> local_ranks() {
    const char* const text = std::getenv(kVariable);
    size_t rank = 0, count = 0;
    int socket = -1;
    if (!text || std::sscanf(text, "%zu %zu %d", &rank, &count, &socket) != 3) return nullptr;
    return std::make_unique<LocalRanks>(rank, count, socket);
}

std::optional<int> run_on_each_gpu(const std::string& device) {
    const size_t count = gpus_in(device).size();
    if (count < 2 || launched() > 1 || std::getenv(kVariable)) return std::nullopt;
    if (count > kMostRanks) fail(Fault::usage, "--device {}: names more than {} GPUs", device, kMostRanks);
    struct sigaction action = {};
    action.sa_handler = hand_on;
    for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGUSR1}) sigaction(signal, &action, nullptr);
    const std::vector<std::string> words = own_command();
    std::vector<Child> ranks;
    for (size_t r = 0; r < count; ++r) ranks.push_back(start(r, count, words));
    return serve(ranks);
}

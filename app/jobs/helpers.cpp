#include "app/jobs/helpers.h"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <optional>
#include <utility>

#include "app/jobs/together.h"
#include "base/error.h"

namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kPatience = std::chrono::seconds(30);  // until a helper that does not stop is killed

// A message: its kind, its size, its text. To a helper: base, image, record. From it: record, error ("75 text").
enum Kind : char { kBase = 'b', kImage = 'i', kRecord = 'r', kError = 'e' };
constexpr size_t kHead = 1 + sizeof(uint64_t);

void append(std::string& to, Kind kind, const std::string& text) {
    const uint64_t size = text.size();
    to += kind;
    to.append(reinterpret_cast<const char*>(&size), sizeof size);
    to += text;
}

struct Message {
    Kind kind;
    std::string text;
};

std::optional<Message> next_message(std::string& received) {
    uint64_t size = 0;
    if (received.size() < kHead) return {};
    std::memcpy(&size, received.data() + 1, sizeof size);
    if (received.size() < kHead + size) return {};
    Message message{Kind(received[0]), received.substr(kHead, size)};
    received.erase(0, kHead + size);
    return message;
}

std::optional<HandedWork> handed;

HandedWork receive_work(int socket) {
    HandedWork work;
    char head[kHead];
    while (receive_all(socket, head, sizeof head)) {
        uint64_t size = 0;
        std::memcpy(&size, head + 1, sizeof size);
        std::string text(size, 0);
        if (!receive_all(socket, text.data(), size)) fail(Fault::environment, "the process that started this is gone");
        if (head[0] == kBase)
            work.base = std::move(text);
        else
            (head[0] == kImage ? work.images : work.records).push_back(std::move(text));
    }
    return work;
}

int work_for_parent(int socket, const std::function<int()>& work) {
    std::optional<std::string> error;
    const auto both = [&] {
        handed = receive_work(socket);
        return work();
    };
    const int code = run_caught(both, error);
    if (!error) return code;
    std::string message;
    append(message, kError, fmt::format("{} {}", code, *error));
    send_all(socket, message.data(), message.size());
    return code;
}

}  // namespace

int run_on_gpus(MachineOptions& machine, const std::function<int()>& work) {
    const std::vector<int> gpus = gpus_in(machine.device);
    if (gpus.size() < 2) return work();
    const auto place = place_as_child();
    const size_t here = gpu_count();  // 0: opening the first one says why
    for (const int gpu : gpus)
        if (here && size_t(gpu) >= here)
            fail(Fault::usage, "--device {}: there {}, counted from 0", machine.device,
                 here == 1 ? "is one GPU here" : fmt::format("are {} GPUs here", here));
    machine.device = fmt::format("cuda:{}", gpus.at(place ? place->number : 0));
    machine.gpus = gpus;
    if (!place) return work();
    machine.quiet = true;
    return work_for_parent(place->socket, work);
}

const HandedWork* handed_work() { return handed ? &*handed : nullptr; }

void send_record(const std::string& record) {
    std::string message;
    append(message, kRecord, record);
    if (!send_all(place_as_child()->socket, message.data(), message.size()))
        fail(Fault::environment, "the process that started this is gone");
}

Helpers::~Helpers() {
    signal(SIGKILL);
    for (const Helper& helper : helpers_)
        if (helper.child.socket >= 0) status_of(helper.child.process), close(helper.child.socket);
}

size_t Helpers::parts(size_t pieces) const { return std::clamp<size_t>(pieces, 1, std::max<size_t>(1, gpus_.size())); }

void Helpers::start(const HandedWork& part) {
    std::string messages;
    append(messages, kBase, part.base);
    for (const std::string& image : part.images) append(messages, kImage, image);
    for (const std::string& record : part.records) append(messages, kRecord, record);
    ++started_;
    helpers_.push_back({start_child(started_, gpus_.size()), gpus_.at(started_)});
    helpers_.back().unsent = std::move(messages);
    write(helpers_.back());
}

// As much as it takes now: one that hangs must not stop this process.
void Helpers::write(Helper& helper) {
    if (helper.sent == helper.unsent.size()) return;
    while (helper.sent < helper.unsent.size()) {
        const ssize_t some = send(helper.child.socket, helper.unsent.data() + helper.sent,
                                  helper.unsent.size() - helper.sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (some < 0 && errno == EINTR) continue;
        if (some < 0 && errno == EAGAIN) return;
        helper.sent = some < 0 ? helper.unsent.size() : helper.sent + size_t(some);  // if it has ended, take() says so
    }
    helper.unsent = {}, helper.sent = 0;
    shutdown(helper.child.socket, SHUT_WR);
}

void Helpers::signal(int number) const {
    for (const Helper& helper : helpers_)
        if (helper.child.socket >= 0) signal_child(helper.child.process, number, 1);
}

void Helpers::fail_with(const Take& record, int code, const std::string& text) {
    if (stopping_) return;
    stop(record);
    fail(Fault(code), "{}", text);
}

bool Helpers::read(Helper& helper) {
    char bytes[1 << 16];
    const ssize_t got = recv(helper.child.socket, bytes, sizeof bytes, MSG_DONTWAIT);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) return true;
    if (got > 0) helper.received.append(bytes, size_t(got));
    return got > 0;
}

bool Helpers::take(const Take& record, bool wait) {
    if (helpers_.empty()) return false;
    std::vector<pollfd> ready;
    for (const Helper& helper : helpers_)
        ready.push_back({helper.child.socket, short(helper.unsent.empty() ? POLLIN : POLLIN | POLLOUT), 0});
    if (poll(ready.data(), ready.size(), wait ? 100 : 0) <= 0) return true;
    std::string error;
    int code = 0;
    for (size_t i = 0; i < ready.size(); ++i) {
        Helper& helper = helpers_[i];
        if (ready[i].revents & POLLOUT) write(helper);
        const bool goes_on = !(ready[i].revents & ~POLLOUT) || read(helper);
        while (std::optional<Message> message = next_message(helper.received)) {
            if (message->kind == kRecord) record(message->text);
            if (message->kind != kError || code) continue;
            size_t digits = 0;
            code = std::stoi(message->text, &digits);
            error = fmt::format("on cuda:{}: {}", helper.gpu, message->text.substr(digits + 1));
        }
        if (goes_on) continue;
        close(std::exchange(helper.child.socket, -1));
        const int status = status_of(helper.child.process);
        if (status == 0 || code) continue;
        code = int(Fault::environment);
        error = fmt::format("the process on cuda:{} was ended by {}", helper.gpu,
                            WIFSIGNALED(status) ? fmt::format("signal {}", WTERMSIG(status))
                                                : fmt::format("itself with code {}", WEXITSTATUS(status)));
    }
    std::erase_if(helpers_, [](const Helper& helper) { return helper.child.socket < 0; });
    if (code) fail_with(record, code, error);
    return !helpers_.empty();
}

void Helpers::stop(const Take& record) {
    stopping_ = true;
    signal(SIGTERM);
    const Clock::time_point end = Clock::now() + kPatience;
    while (take(record, true)) signal(Clock::now() > end ? SIGKILL : SIGTERM);
}

#include "base/children.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "base/error.h"

namespace {

constexpr const char* kVariable = "TUNDRA_LOCAL_RANK";  // "1 2 5": number, of, socket

std::vector<std::string> own_command() {
    std::ifstream in("/proc/self/cmdline", std::ios::binary);
    const std::string all{std::istreambuf_iterator<char>(in), {}};
    std::vector<std::string> words;
    for (size_t at = 0; at < all.size(); at += words.back().size() + 1) words.emplace_back(all.c_str() + at);
    return words;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
    std::vector<char*> all;
    for (std::string& text : texts) all.push_back(text.data());
    all.push_back(nullptr);
    return all;
}

}  // namespace

std::optional<ChildPlace> place_as_child() {
    const char* const text = std::getenv(kVariable);
    ChildPlace place{};
    if (!text || std::sscanf(text, "%zu %zu %d", &place.number, &place.of, &place.socket) != 3) return {};
    return place;
}

Child start_child(size_t number, size_t of) {
    ::signal(SIGCHLD, SIG_DFL);  // inherited as ignored, it would hide how a child ends
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        fail(Fault::environment, "no socket for another process: {}", std::strerror(errno));
    // Between fork and exec a process with threads may allocate nothing.
    std::vector<std::string> words = own_command(), settings;
    for (char** setting = environ; *setting; ++setting) settings.emplace_back(*setting);
    settings.push_back(fmt::format("{}={} {} {}", kVariable, number, of, pair[1]));
    const std::vector<char*> arguments = pointers(words), variables = pointers(settings);
    const pid_t parent = getpid(), child = fork();
    if (child == 0) {
        setpgid(0, 0);  // the terminal's Ctrl-C comes through the parent, once
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) _exit(1);
        fcntl(pair[1], F_SETFD, 0);
        execve("/proc/self/exe", arguments.data(), variables.data());
        _exit(127);
    }
    close(pair[1]);
    if (child < 0) fail(Fault::environment, "no other process: {}", std::strerror(errno));
    return {child, pair[0]};
}

void signal_child(pid_t process, int signal, int number) {
    sigval value{};
    value.sival_int = number;
    sigqueue(process, signal, value);
}

int status_of(pid_t process) {
    int status = 0;
    while (waitpid(process, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
}

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

bool receive_all(int socket, void* data, size_t bytes) {
    auto* at = static_cast<char*>(data);
    while (bytes) {
        const ssize_t got = recv(socket, at, bytes, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        at += got, bytes -= size_t(got);
    }
    return true;
}

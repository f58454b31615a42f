#include "app/review/server.h"

#include "base/error.h"

#ifdef TUNDRA_HTTPLIB

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <fmt/format.h>
#include <httplib.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <functional>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "app/review/page.h"
#include "app/review/pictures.h"
#include "base/file.h"
#include "base/json.h"
#include "base/processors.h"
#include "base/text.h"

namespace {

using namespace std::chrono_literals;

constexpr size_t kMostThreads = 512, kMostBody = 4 << 20, kMostIds = 500;
constexpr size_t kPictureBytes = size_t(256) << 20;

std::string random_token() {
    std::random_device random;  // the system's generator
    std::string token;
    for (int i = 0; i < 4; ++i) token += fmt::format("{:08x}", random());
    return token;
}

// A thread for each connection: the library's pool of fixed size would be filled by browsers that keep connections open
// without asking for anything, and nobody else would be answered.
class Threads : public httplib::TaskQueue {
    using Result = decltype(std::declval<httplib::TaskQueue&>().enqueue(std::function<void()>()));

public:
    Result enqueue(std::function<void()> work) override {
        const std::scoped_lock lock(mutex_);
        waiting_.push_back(std::move(work));
        if (idle_ < waiting_.size() && threads_.size() < kMostThreads) threads_.emplace_back([this] { serve(); });
        wake_.notify_one();
        return Result(true);
    }
    void shutdown() override {
        {
            const std::scoped_lock lock(mutex_);
            ended_ = true;
        }
        wake_.notify_all();
        for (std::thread& thread : threads_) thread.join();
    }

private:
    void serve() {
        std::unique_lock lock(mutex_);
        for (;;) {
            ++idle_;
            wake_.wait(lock, [&] { return ended_ || !waiting_.empty(); });
            --idle_;
            if (waiting_.empty()) return;
            const std::function<void()> work = std::move(waiting_.front());
            waiting_.pop_front();
            lock.unlock();
            work();
            lock.lock();
        }
    }

    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<std::function<void()>> waiting_;
    std::vector<std::thread> threads_;
    size_t idle_ = 0;
    bool ended_ = false;
};

bool same(const std::string& a, const std::string& b) {  // in a time that tells nothing of the token
    unsigned char difference = a.size() != b.size();
    for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) difference |= (unsigned char)(a[i] ^ b[i]);
    return !difference;
}

std::vector<uint32_t> numbers_in(const std::string& text) {
    std::vector<uint32_t> numbers;
    for (size_t i = 0; i < text.size() && numbers.size() < kMostIds;) {
        const size_t end = std::min(text.find(',', i), text.size());
        if (uint32_t n; std::from_chars(text.data() + i, text.data() + end, n).ec == std::errc()) numbers.push_back(n);
        i = end + 1;
    }
    return numbers;
}

double number_or(const std::string& text, double otherwise) {
    double value;
    return std::from_chars(text.data(), text.data() + text.size(), value).ec == std::errc() ? value : otherwise;
}

}  // namespace

struct ReviewServer::State {
    const SurveyFolder& survey;
    ReviewSession& session;
    Pictures pictures{kPictureBytes, usable_processors()};
    httplib::Server server;
    std::string token = random_token(), host;

    // "" if the request comes from the page of this server; else why it is refused.
    std::string refused(const httplib::Request& request) const {
        if (request.get_header_value("Host") != host) return "this server answers as http://" + host + " only";
        if (request.has_header("Origin") && request.get_header_value("Origin") != "http://" + host)
            return "another page may not ask this server";
        if (const std::string site = request.get_header_value("Sec-Fetch-Site");
            !site.empty() && site != "same-origin" && site != "none")
            return "another page may not ask this server";
        if (request.path.empty() || !same(request.path.substr(1, request.path.find('/', 1) - 1), token))
            return "the address lacks the token that tundra review printed";
        return "";
    }

    void answer(httplib::Response& response, const std::function<nlohmann::json()>& work) const {
        nlohmann::json result;
        try {
            result = work();
        } catch (const Error& error) {
            response.status = error.fault == Fault::environment ? 507 : 409;
            result = {{"error", printable(error.what())}};
        } catch (const std::exception& error) {
            response.status = 500;
            result = {{"error", printable(error.what())}};
        }
        response.set_header("Cache-Control", "no-store");
        response.set_content(one_line(result), "application/json");
    }

    void picture(const httplib::Request& request, httplib::Response& response) {
        const size_t image = size_t(number_or(request.matches[1].str(), -1)),
                     side = size_t(number_or(request.matches[2].str(), 0));
        if (image >= survey.images.size() || !(side == 240 || side == 1280 || side == 4096)) {
            response.status = 404;
            return;
        }
        const std::string path = survey.path(image);
        struct stat status {};
        const bool is_there = ::stat(path.c_str(), &status) == 0;
        const std::string tag =
            fmt::format("\"{}-{}-{}\"", status.st_size, status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
        if (is_there && request.get_header_value("If-None-Match") == tag) {
            response.status = 304;
            return;
        }
        const auto picture = pictures.get(uint32_t(image), path, side);
        if (picture->bytes.empty()) {
            response.status = 404;
            response.set_header("Cache-Control", "no-store");
            response.set_content(printable(picture->trouble), "text/plain; charset=utf-8");
            return;
        }
        response.set_header("ETag", tag);
        response.set_header("Cache-Control", "private, max-age=3600");
        response.set_content(reinterpret_cast<const char*>(picture->bytes.data()), picture->bytes.size(), "image/jpeg");
    }

    void list(const httplib::Request& request, httplib::Response& response) {
        const auto given = [&](const char* name) { return request.get_param_value(name); };
        ReviewFilter filter{
            .site = given("site"), .final = given("final"), .species = given("species"), .reason = given("reason")};
        if (request.has_param("state")) filter.state = given("state");
        if (request.has_param("order")) filter.order = given("order");
        filter.min = number_or(given("min"), 0);
        filter.max = number_or(given("max"), 1);
        try {
            const std::vector<uint32_t> images = session.list(filter);
            response.set_header("Cache-Control", "no-store");
            response.set_content(reinterpret_cast<const char*>(images.data()), images.size() * sizeof images[0],
                                 "application/octet-stream");
        } catch (const Error& error) {
            answer(response, [&]() -> nlohmann::json { throw error; });
        }
    }

    void add_handlers() {
        server.set_pre_routing_handler([this](const httplib::Request& request, httplib::Response& response) {
            const std::string reason = refused(request);
            if (reason.empty()) return httplib::Server::HandlerResponse::Unhandled;
            response.status = 403;
            response.set_content("tundra review: " + reason + "\n", "text/plain; charset=utf-8");
            return httplib::Server::HandlerResponse::Handled;
        });
        server.set_default_headers({{"X-Content-Type-Options", "nosniff"},
                                    {"X-Frame-Options", "DENY"},
                                    {"Referrer-Policy", "no-referrer"},
                                    {"Cross-Origin-Resource-Policy", "same-origin"}});
        const std::string root = "/" + token + "/";
        server.Get("/" + token, [root](const httplib::Request&, httplib::Response& response) {
            response.set_redirect(root.c_str());  // copied without the slash at its end
        });
        server.Get(root, [this](const httplib::Request&, httplib::Response& response) {
            response.set_header("Cache-Control", "no-store");
            response.set_content(review_page(survey.folder.filename().string(), random_token(), nullptr),
                                 "text/html; charset=utf-8");
        });
        server.Get(root + "about", [this](const httplib::Request&, httplib::Response& response) {
            answer(response, [&] { return session.about(); });
        });
        server.Get(root + "list",
                   [this](const httplib::Request& request, httplib::Response& response) { list(request, response); });
        server.Get(root + "items", [this](const httplib::Request& request, httplib::Response& response) {
            answer(response, [&] { return session.items(numbers_in(request.get_param_value("ids"))); });
        });
        server.Get(
            root + R"(image/(\d{1,9})/(\d{1,4}))",
            [this](const httplib::Request& request, httplib::Response& response) { picture(request, response); });
        for (const bool is_save : {true, false})
            server.Post(root + (is_save ? "save" : "undo"),
                        [this, is_save](const httplib::Request& request, httplib::Response& response) {
                            answer(response, [&] {
                                if (!request.get_header_value("Content-Type").starts_with("application/json"))
                                    fail(Fault::usage, "an answer has to be JSON");
                                return is_save ? session.save(parse_foreign(request.body)) : session.undo();
                            });
                        });
    }
};

ReviewServer::ReviewServer(const SurveyFolder& survey, ReviewSession& session, int port)
    : state_(new State{.survey = survey, .session = session, .server = {}, .host = ""}) {
    httplib::Server& server = state_->server;
    server.new_task_queue = [] { return new Threads; };
    server.set_keep_alive_max_count(100'000);
    server.set_keep_alive_timeout(2);
    server.set_payload_max_length(kMostBody);
    server.set_tcp_nodelay(true);
    // Not the library's options: with SO_REUSEPORT a second server would share the port in silence.
    server.set_socket_options([](socket_t socket) {
        const int yes = 1;
        ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
        ::fcntl(socket, F_SETFD, FD_CLOEXEC);
    });
    state_->add_handlers();
    const bool bound =
        port ? server.bind_to_port("127.0.0.1", port) : (port = server.bind_to_any_port("127.0.0.1")) > 0;
    if (!bound)
        fail(Fault::environment, "--port {}: {}; choose another port, or none for any that is free", port,
             errno == EADDRINUSE ? "is in use" : std::strerror(errno));
    state_->host = fmt::format("127.0.0.1:{}", port);
}

ReviewServer::~ReviewServer() = default;

std::string ReviewServer::address() const { return fmt::format("http://{}/{}/", state_->host, state_->token); }

void ReviewServer::run(const std::function<bool()>& stopped) {
    std::atomic<bool> ended = false;
    std::thread listening([&] {
        state_->server.listen_after_bind();
        ended = true;
    });
    while (!state_->server.is_running() && !ended) std::this_thread::sleep_for(1ms);
    while (!stopped() && !ended) std::this_thread::sleep_for(100ms);
    state_->server.stop();
    listening.join();
}

#else

struct ReviewServer::State {};

ReviewServer::ReviewServer(const SurveyFolder&, ReviewSession&, int) {
    fail(Fault::usage,
         "review: this build has no web server: install libcpp-httplib-dev (scripts/setup.sh does) and build again; "
         "--static FILE works without one");
}
ReviewServer::~ReviewServer() = default;
std::string ReviewServer::address() const { return ""; }
void ReviewServer::run(const std::function<bool()>&) {}

#endif

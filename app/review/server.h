// The local web server of `tundra review`. It listens on 127.0.0.1 only and answers only requests that carry the random
// token of its address, name this address as their host, and come from its own page: another page that is open in the
// same browser, or another user of the machine, can neither read nor change anything.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "app/review/folder.h"
#include "app/review/session.h"

class ReviewServer {
public:
    // `port` 0: any that is free. Fault::environment if the port is in use. Fault::usage in a build without
    // cpp-httplib.
    ReviewServer(const SurveyFolder& survey, ReviewSession& session, int port);
    ~ReviewServer();

    std::string address() const;                     // "http://127.0.0.1:40123/TOKEN/"
    void run(const std::function<bool()>& stopped);  // until stopped(), which is asked ten times a second

private:
    struct State;
    std::unique_ptr<State> state_;
};

// This program started again with the same arguments: ranks on the GPUs of a machine (train/ranks_local.cpp), helpers
// of a long run (app/jobs/helpers.h). Each has a number and a socket to the process that started it, and ends when that
// does.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <optional>

struct ChildPlace {
    size_t number, of;
    int socket;
};
std::optional<ChildPlace> place_as_child();  // of this process, if it was started so

struct Child {
    pid_t process = 0;
    int socket = -1;
};
Child start_child(size_t number, size_t of);  // Fault::environment if the system has no process or socket for it

// Sends a signal that StopSignals takes, the same `number` being the same signal: so it can be sent again until it is
// heard. One from elsewhere that waits for the process meanwhile takes the place of the first.
void signal_child(pid_t process, int signal, int number);

int status_of(pid_t process);  // when it has ended: as waitpid() has it

// False if the other end is gone.
bool send_all(int socket, const void* data, size_t bytes);
bool receive_all(int socket, void* data, size_t bytes);

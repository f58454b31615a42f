// A stand-in for NCCL, libnccl.so.2, between processes of one machine that run over the stand-in for the CUDA runtime:
// it finds that in the program that opens it. Calls queue work on their stream; the work meets the other ranks in
// shared memory. Ranks add in their order. Only within a group is something sent from one rank to another.
//
// VIRTUAL_NCCL_LOG=FILE appends every call, and every piece of work when it is done, to FILE.RANK:
//   call all_reduce float32 1048576 sum stream 2 captured      done all_reduce float32 1048576 sum
// VIRTUAL_NCCL_ORDER=reversed: sums run, and messages come, in the opposite order of ranks, as NCCL is free to do.
// VIRTUAL_NCCL_FAILS=N: the Nth piece of work of rank 1 fails as a link between machines does, and never ends.
#include "nccl.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "virtual_gpu/simt/runtime.h"

namespace {

constexpr size_t kPiece = size_t(1) << 20;  // bytes of each rank that are exchanged at once

struct Meeting {
    std::atomic<uint32_t> arrived, round, aborted;
    std::atomic<uint64_t> left;  // bytes of the message that is sent now
};

float from_bf16(uint16_t bits) {
    const uint32_t wide = uint32_t(bits) << 16;
    float value;
    std::memcpy(&value, &wide, sizeof value);
    return value;
}
uint16_t to_bf16(float value) {  // to the nearest, ties to even
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

}  // namespace

struct ncclComm {
    std::string name;
    size_t rank, ranks;
    Meeting* meeting = nullptr;
    std::byte* slots = nullptr;  // kPiece bytes of each rank
    FILE* log = nullptr;
    size_t works = 0, fails_at = 0;
    bool reversed = false;
    std::atomic<ncclResult_t> error = ncclSuccess;
    std::atomic<bool> ended = false;
    std::shared_ptr<int> recorded = std::make_shared<int>();  // recorded work keeps it too

    size_t bytes() const { return 4096 + ranks * kPiece; }
    size_t nth(size_t n) const { return reversed ? ranks - 1 - n : n; }  // rank, in the order of additions
    bool meet() const {                                                  // false: aborted
        const uint32_t round = meeting->round;
        if (++meeting->arrived == ranks) {
            meeting->arrived = 0;
            ++meeting->round;
            return true;
        }
        while (meeting->round == round) {
            if (meeting->aborted || ended) return false;
            sched_yield();
        }
        return true;
    }
    void say(const std::string& line) const {
        if (log) std::fputs((line + "\n").c_str(), log), std::fflush(log);
    }
    bool begin_work(const std::string& what) {
        if (rank == 1 && ++works == fails_at) {
            error = ncclRemoteError;
            while (!ended) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
        if (ended || meeting->aborted) return false;
        say("done " + what);
        return true;
    }
};

namespace {

using Comm = std::shared_ptr<ncclComm>;
std::vector<Comm> comms;  // work that is still queued keeps its own
Comm kept(ncclComm_t comm) {
    for (const Comm& c : comms)
        if (c.get() == comm) return c;
    return nullptr;
}

size_t size_of(ncclDataType_t type) { return type == ncclFloat32 ? 4 : type == ncclUint8 ? 1 : 2; }
const char* name_of(ncclDataType_t type) {
    return type == ncclFloat32    ? "float32"
           : type == ncclUint8    ? "uint8"
           : type == ncclBfloat16 ? "bfloat16"
                                  : "float16";
}

void note_call(const ncclComm& comm, const std::string& what, cudaStream_t stream) {
    comm.say("call " + what + " stream " + std::to_string(fake_cuda::number_of(stream)) +
             (fake_cuda::is_capturing(stream) ? " captured" : ""));
}

// Null for work that is queued, not recorded.
std::shared_ptr<int> mark_of(const ncclComm& comm, cudaStream_t stream) {
    return fake_cuda::is_capturing(stream) ? comm.recorded : nullptr;
}

// As NCCL does, returns when no recorded graph holds a call of it.
void end(ncclComm_t c) {
    const Comm comm = kept(c);
    comm->ended = true;
    while (comm->recorded.use_count() > 1) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

struct Transfer {
    size_t peer, bytes;
    const std::byte* from;  // of what is sent
    std::byte* to;          // of what is received
};
std::vector<Transfer> group;  // of the thread that makes all calls
Comm group_comm;
cudaStream_t group_stream = nullptr;

// The mean is the sum of what each multiplies before, as NCCL computes it.
void add_ranks(const ncclComm& comm, std::byte* to, size_t count, ncclDataType_t type, float factor) {
    for (size_t i = 0; i < count; ++i) {
        float sum = 0;
        for (size_t n = 0; n < comm.ranks; ++n) {
            const std::byte* const slot = comm.slots + comm.nth(n) * kPiece;
            if (type == ncclFloat32) {
                float value;
                std::memcpy(&value, slot + 4 * i, sizeof value);
                sum += factor * value;
            } else {
                uint16_t bits;
                std::memcpy(&bits, slot + 2 * i, sizeof bits);
                sum = from_bf16(to_bf16(sum + from_bf16(to_bf16(factor * from_bf16(bits)))));
            }
        }
        const uint16_t half = to_bf16(sum);
        if (type == ncclFloat32)
            std::memcpy(to + 4 * i, &sum, sizeof sum);
        else
            std::memcpy(to + 2 * i, &half, sizeof half);
    }
}

}  // namespace

ncclResult_t ncclGetVersion(int* version) {
    *version = NCCL_VERSION_CODE;
    return ncclSuccess;
}

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
    static int made = 0;
    *id = {};
    std::snprintf(id->internal, sizeof id->internal, "/virtual-nccl-%d-%d", int(getpid()), ++made);
    return ncclSuccess;
}

ncclResult_t ncclCommInitRank(ncclComm_t* out, int ranks, ncclUniqueId id, int rank) {
    const Comm comm = std::make_shared<ncclComm>(id.internal, size_t(rank), size_t(ranks));
    const int file = shm_open(comm->name.c_str(), O_CREAT | O_RDWR, 0600);
    if (file < 0 || ftruncate(file, off_t(comm->bytes())) != 0) return ncclSystemError;
    void* const memory = mmap(nullptr, comm->bytes(), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (memory == MAP_FAILED) return ncclSystemError;
    comm->meeting = static_cast<Meeting*>(memory);
    comm->slots = static_cast<std::byte*>(memory) + 4096;
    if (const char* log = std::getenv("VIRTUAL_NCCL_LOG"))
        comm->log = std::fopen((std::string(log) + "." + std::to_string(rank)).c_str(), "a");
    const char* const order = std::getenv("VIRTUAL_NCCL_ORDER");
    comm->reversed = order && std::string(order) == "reversed";
    if (const char* number = std::getenv("VIRTUAL_NCCL_FAILS")) comm->fails_at = std::strtoul(number, nullptr, 10);
    comms.push_back(comm);
    *out = comm.get();
    if (!comm->meet()) return ncclRemoteError;
    if (rank == 0) shm_unlink(comm->name.c_str());
    return ncclSuccess;
}

ncclResult_t ncclAllReduce(const void* from, void* to, size_t count, ncclDataType_t type, ncclRedOp_t op, ncclComm_t c,
                           cudaStream_t stream) {
    if (type != ncclFloat32 && type != ncclBfloat16) return ncclInvalidArgument;
    const Comm comm = kept(c);
    const std::string what =
        std::string("all_reduce ") + name_of(type) + " " + std::to_string(count) + (op == ncclAvg ? " mean" : " sum");
    note_call(*comm, what, stream);
    const float factor = op == ncclAvg ? 1 / float(comm->ranks) : 1;
    fake_cuda::enqueue(stream, [=, mark = mark_of(*comm, stream)] {
        if (!comm->begin_work(what)) return;
        const size_t step = kPiece / size_of(type);
        std::vector<std::byte> sums(kPiece);
        for (size_t at = 0; at < count; at += step) {
            const size_t some = std::min(step, count - at), bytes = some * size_of(type);
            simt::copy(comm->slots + comm->rank * kPiece, static_cast<const std::byte*>(from) + at * size_of(type),
                       bytes);
            if (!comm->meet()) return;
            add_ranks(*comm, sums.data(), some, type, factor);
            simt::copy(static_cast<std::byte*>(to) + at * size_of(type), sums.data(), bytes);
            if (!comm->meet()) return;
        }
    });
    return ncclSuccess;
}

ncclResult_t ncclAllGather(const void* from, void* to, size_t count, ncclDataType_t type, ncclComm_t c,
                           cudaStream_t stream) {
    const Comm comm = kept(c);
    const size_t all = count * size_of(type);
    const std::string what = std::string("all_gather ") + name_of(type) + " " + std::to_string(count);
    note_call(*comm, what, stream);
    fake_cuda::enqueue(stream, [=, mark = mark_of(*comm, stream)] {
        if (!comm->begin_work(what)) return;
        for (size_t at = 0; at < all; at += kPiece) {
            const size_t bytes = std::min(kPiece, all - at);
            simt::copy(comm->slots + comm->rank * kPiece, static_cast<const std::byte*>(from) + at, bytes);
            if (!comm->meet()) return;
            for (size_t r = 0; r < comm->ranks; ++r)
                simt::copy(static_cast<std::byte*>(to) + r * all + at, comm->slots + r * kPiece, bytes);
            if (!comm->meet()) return;
        }
    });
    return ncclSuccess;
}

ncclResult_t ncclSend(const void* from, size_t count, ncclDataType_t type, int peer, ncclComm_t c,
                      cudaStream_t stream) {
    group.push_back({size_t(peer), count * size_of(type), static_cast<const std::byte*>(from), nullptr});
    group_comm = kept(c), group_stream = stream;
    return ncclSuccess;
}

ncclResult_t ncclRecv(void* to, size_t count, ncclDataType_t type, int peer, ncclComm_t c, cudaStream_t stream) {
    group.push_back({size_t(peer), count * size_of(type), nullptr, static_cast<std::byte*>(to)});
    group_comm = kept(c), group_stream = stream;
    return ncclSuccess;
}

ncclResult_t ncclGroupStart() {
    group.clear();
    return ncclSuccess;
}

ncclResult_t ncclGroupEnd() {
    const Comm comm = group_comm;
    size_t bytes = 0;
    for (const Transfer& t : group) bytes += t.from ? t.bytes : 0;
    const std::string what = "exchange uint8 " + std::to_string(bytes);
    note_call(*comm, what, group_stream);
    fake_cuda::enqueue(group_stream, [=, transfers = group, mark = mark_of(*comm, group_stream)] {
        if (!comm->begin_work(what)) return;
        const auto find = [&](bool sent, size_t peer) -> const Transfer* {
            for (const Transfer& t : transfers)
                if ((t.from != nullptr) == sent && t.peer == peer) return &t;
            return nullptr;
        };
        for (size_t pair = 0; pair < comm->ranks * comm->ranks; ++pair) {
            const size_t sender = comm->nth(pair / comm->ranks), receiver = pair % comm->ranks;
            const Transfer* const out = comm->rank == sender ? find(true, receiver) : nullptr;
            const Transfer* const in = comm->rank == receiver ? find(false, sender) : nullptr;
            for (size_t at = 0, left = 1; left; at += kPiece) {
                if (comm->rank == sender) comm->meeting->left = out ? out->bytes - at : 0;
                if (out) simt::copy(comm->slots + sender * kPiece, out->from + at, std::min(kPiece, out->bytes - at));
                if (!comm->meet()) return;
                left = comm->meeting->left;
                if (comm->rank == receiver && at == 0 && left != (in ? in->bytes : 0)) {
                    comm->error = ncclInvalidUsage;  // where NCCL would hang
                    return;
                }
                const size_t piece = std::min(kPiece, left);
                if (in) simt::copy(in->to + at, comm->slots + sender * kPiece, std::min(piece, in->bytes - at));
                left -= piece;
                if (!comm->meet()) return;
            }
        }
    });
    return ncclSuccess;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* result) {
    *result = comm->error;
    return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t comm) {
    end(comm);
    return ncclSuccess;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm) {
    end(comm);
    return ncclSuccess;
}

const char* ncclGetErrorString(ncclResult_t result) {
    return result == ncclRemoteError ? "remote process exited or there was a network error" : "some error";
}
const char* ncclGetLastError(ncclComm_t) { return ""; }

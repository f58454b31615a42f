// What the lanes of a warp do together, and the moves between registers and vectors of smaller ones.
#include "lanes.h"

namespace ptx {
namespace {

enum class Mode { idx, up, down, bfly };
template <Mode mode>
void shuffle(Warp& w, const Instruction& i) {
    const auto *a = w.at<uint32_t>(i.in[0]), *b = w.at<uint32_t>(i.in[1]), *c = w.at<uint32_t>(i.in[2]);
    uint32_t values[32], valid = 0;
    for (unsigned l = 0; l < 32; ++l) {
        if (!w.lanes[l]) continue;
        const uint32_t offset = b[l] & 31, clamp = c[l] & 31, segment = c[l] >> 8 & 31;
        const uint32_t most = (l & segment) | (clamp & ~segment), least = l & segment;
        bool inside = false;
        uint32_t from = 0;
        switch (mode) {
            case Mode::up: from = l - offset, inside = int32_t(from) >= int32_t(most); break;
            case Mode::down: from = l + offset, inside = from <= most; break;
            case Mode::bfly: from = l ^ offset, inside = from <= most; break;
            case Mode::idx: from = least | (offset & ~segment), inside = from <= most; break;
        }
        if (!inside) from = l;
        if (!w.lanes[from]) w.fail(i, "reads lane " + std::to_string(from) + ", which takes no part", l);
        values[l] = a[from];
        valid |= uint32_t(inside) << l;
    }
    for (unsigned l = 0; l < 32; ++l) {
        if (!w.lanes[l]) continue;
        w.at<uint32_t>(i.out)[l] = values[l];
        if (i.element[1]) w.at<uint32_t>(i.element[1])[l] = valid >> l & 1 ? ~0u : 0;
    }
}

enum class Vote { all, any, uni, ballot };
template <Vote vote>
void voted(Warp& w, const Instruction& i) {
    uint32_t set = 0;
    for (unsigned l = 0; l < 32; ++l)
        if (w.lanes[l] && w.at<uint32_t>(i.in[0])[l]) set |= 1u << l;
    const bool yes = vote == Vote::all ? set == w.mask : vote == Vote::any ? set != 0 : set == w.mask || set == 0;
    for (unsigned l = 0; l < 32; ++l)
        if (w.lanes[l]) w.at<uint32_t>(i.out)[l] = vote == Vote::ballot ? set : yes ? ~0u : 0;
}

template <class Whole, class Part>
void unpack(Warp& w, const Instruction& i) {
    for (unsigned l = 0; l < 32; ++l)
        for (size_t k = 0; w.lanes[l] && k < sizeof(Whole) / sizeof(Part); ++k)
            w.at<Lane<Part>>(i.element[k])[l] = Part(w.at<Lane<Whole>>(i.in[0])[l] >> (8 * sizeof(Part) * k));
}
template <class Whole, class Part>
void pack(Warp& w, const Instruction& i) {
    for (unsigned l = 0; l < 32; ++l) {
        Whole whole = 0;
        for (size_t k = 0; k < sizeof(Whole) / sizeof(Part); ++k)
            whole |= Whole(Whole(Part(w.at<Lane<Part>>(i.element[k])[l])) << (8 * sizeof(Part) * k));
        if (w.lanes[l]) w.at<Lane<Whole>>(i.out)[l] = whole;
    }
}

}  // namespace

void add_warp_operations(Forms& table) {
    const auto shuffled = [&](const char* mode, Handler run) {
        table["shfl.sync." + std::string(mode) + ".b32"] = {.layout = Form::shuffle, .run = run, .out = 4};
    };
    shuffled("idx", &shuffle<Mode::idx>), shuffled("up", &shuffle<Mode::up>);
    shuffled("down", &shuffle<Mode::down>), shuffled("bfly", &shuffle<Mode::bfly>);
    table["vote.sync.ballot.b32"] = {.layout = Form::vote, .run = &voted<Vote::ballot>, .out = 4, .in = {1}};
    table["vote.sync.all.pred"] = {.layout = Form::vote, .run = &voted<Vote::all>, .out = 1, .in = {1}};
    table["vote.sync.any.pred"] = {.layout = Form::vote, .run = &voted<Vote::any>, .out = 1, .in = {1}};
    table["vote.sync.uni.pred"] = {.layout = Form::vote, .run = &voted<Vote::uni>, .out = 1, .in = {1}};
    table["bar.warp.sync"] = {.layout = Form::barrier_warp, .run = [](Warp&, const Instruction&) {}};
    for (const char* name : {"bar.sync", "barrier.sync", "barrier.sync.aligned"})
        table[name] = {.layout = Form::barrier};
    for (const char* name : {"bra", "bra.uni"}) table[name] = {.layout = Form::branch};
    for (const char* name : {"ret", "exit"}) table[name] = {.layout = Form::exit};

    const auto move = [&]<class T>(const char* type, const char* like) {
        Form form = elementwise<T(T)>([](T a) { return a; });
        form.layout = Form::vector_move;
        table["mov." + std::string(type)] = form;
        if (like) table["mov." + std::string(like)] = form;
    };
    move.operator()<uint16_t>("b16", "u16"), move.operator()<uint16_t>("s16", nullptr);
    move.operator()<uint32_t>("b32", "u32"), move.operator()<uint32_t>("s32", "f32");
    move.operator()<uint64_t>("b64", "u64"), move.operator()<uint64_t>("s64", "f64");
    table["unpack.2.4"] = {.run = &unpack<uint32_t, uint16_t>};  // not opcodes: what the decoder makes of mov
    table["unpack.2.8"] = {.run = &unpack<uint64_t, uint32_t>};
    table["unpack.4.8"] = {.run = &unpack<uint64_t, uint16_t>};
    table["pack.2.4"] = {.run = &pack<uint32_t, uint16_t>};
    table["pack.2.8"] = {.run = &pack<uint64_t, uint32_t>};
    table["pack.4.8"] = {.run = &pack<uint64_t, uint16_t>};
}

}  // namespace ptx

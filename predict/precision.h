// The precision of a network on a device: what --precision says, or for `auto` what is known of the network and
// measured on this machine.
#pragma once

#include <functional>
#include <string>

#include "engine/device.h"

struct PrecisionChoice {
    DType type = DType::f32;
    std::string why = {};  // for people; empty where nothing was chosen
};
std::string to_text(const PrecisionChoice& choice);  // "fp32", "bf16 (auto: ...)"

struct PrecisionWish {
    std::string_view named;        // the value of --precision
    DType automatic = DType::f32;  // what `auto` means on devices other than cpu
    std::string earlier = {};      // what an interrupted run of the same results has: it stays; empty: there is none
    bool checked = false;          // the weights have passed predict/precision_check.h
    std::string file = {};         // of the network, for messages
    std::string int8_report = {};  // of a quantized network, which runs in int8 and in nothing else; empty: it is not
    std::string alone = {};        // why no time may decide, such as other machines that must agree; empty: it may
};

// `seconds`: the time of one run of the network in a precision. It is asked for only where bf16 may be chosen, several
// times in turns, because others use the machine, too. Errors: Fault::usage as precision_named(), or where int8 and the
// network do not belong together; Fault::damaged for a quantized network that is not the one that passed its check.
PrecisionChoice choose_precision(const PrecisionWish& wish, const Device& device,
                                 const std::function<double(DType)>& seconds);

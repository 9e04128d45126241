// Between the host and the device of a call, for calls that may copy.
#pragma once

#include "device/place.h"

namespace moeq {

// An input: what is in host memory while the call works on a device is brought there, for as long as this lives.
class Input {
public:
    explicit Input(const OpenCall& open) : open_(open) {}
    ~Input();
    Input(const Input&) = delete;
    Input& operator=(const Input&) = delete;

    // *view: on the call's device from now on. DEVICE where it is on another one.
    [[nodiscard]] moeq_status bring(const Wanted& wanted, TensorView* view, Report& report);

private:
    const OpenCall& open_;
    void* memory_ = nullptr;
    uint64_t bytes_ = 0;
};

// The other way round, for what the host has to read.
class HostCopy {
public:
    explicit HostCopy(const OpenCall& open) : open_(open) {}
    ~HostCopy();
    HostCopy(const HostCopy&) = delete;
    HostCopy& operator=(const HostCopy&) = delete;

    // *view: in host memory from now on. DEVICE where it is on another device than the call's.
    [[nodiscard]] moeq_status fetch(const Wanted& wanted, TensorView* view, Report& report);

private:
    const OpenCall& open_;
    void* memory_ = nullptr;
    uint64_t bytes_ = 0;
};

} // namespace moeq

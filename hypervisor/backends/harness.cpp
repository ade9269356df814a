// The exported pool under Verilator, with its memory behind the channels, as a small C interface.
//
// ports.h is generated: the sizes of the pool, and lists of its channels and cores.
// A response comes TENURE_LATENCY cycles after its request, whatever the request.

#include <sys/mman.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <vector>

#include "Vpool.h"
#include "ports.h"

namespace {

using Beat = std::array<uint8_t, TENURE_BEAT_BYTES>;

constexpr size_t memory_bytes = size_t(TENURE_MEMORY_BEATS) * TENURE_BEAT_BYTES;

// Ports are unsigned integers or VlWide; both are little-endian in memory.
template <typename Port>
void put(Port& port, const uint8_t* bytes) {
    static_assert(sizeof(Port) >= TENURE_BEAT_BYTES);
    std::memcpy(&port, bytes, TENURE_BEAT_BYTES);
}

template <typename Port>
const uint8_t* get(const Port& port) {
    return reinterpret_cast<const uint8_t*>(&port);
}

struct ActivityChange {
    int64_t cycle, core, bits;
};

struct HostPort {
    uint32_t valid, write;
    uint64_t beat;
    uint32_t taken, response_valid;
    uint8_t data[TENURE_BEAT_BYTES];
};

class Pool {
public:
    Pool() {
        memory = static_cast<uint8_t*>(
            mmap(nullptr, memory_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        top.rst = 1;
        rise();
        rise();
        top.rst = 0;
    }

    ~Pool() {
        top.final();
        munmap(memory, memory_bytes);
    }

    void advance(uint64_t cycles, const uint32_t* control, uint64_t rows, uint32_t* read_data) {
        for (uint64_t row = 0; row < cycles; ++row) {
            const bool given = row < rows;
            top.control_write = given ? control[3 * row] : 0;
            top.control_address = given ? control[3 * row + 1] : 0;
            top.control_write_data = given ? control[3 * row + 2] : 0;
            begin();
            if (read_data) read_data[row] = top.control_read_data;
            rise();
        }
    }

    void host_cycle(HostPort& port) {
        top.control_write = 0;
        top.control_address = 0;
        top.control_write_data = 0;
        top.host_request_valid = port.valid;
        top.host_request_write = port.write;
        top.host_request_address = port.beat;
        top.host_request_strobe = port.valid ? (1u << TENURE_VECTORS) - 1 : 0;
        put(top.host_request_data, port.data);
        begin();
        port.taken = top.host_request_taken;
        port.response_valid = top.host_response_valid;
        std::memcpy(port.data, get(top.host_response_data), TENURE_BEAT_BYTES);
        rise();
        top.host_request_valid = 0;
    }

    uint8_t* memory;
    std::vector<ActivityChange> changes;

private:
    // The first half of a cycle: inputs settle, then what the pool's outputs show is served and recorded.
    void begin() {
        const size_t now = cycle % TENURE_LATENCY;
#define TENURE_RESPOND(g) put(top.channel##g##_response, responses[g][now].data());
        TENURE_CHANNELS(TENURE_RESPOND)
        top.clk = 0;
        top.eval();
#define TENURE_SERVE(g)                                                                             \
    responses[g][now] = Beat{};                                                                     \
    if (top.channel##g##_valid)                                                                     \
        serve(size_t(top.channel##g##_address) * TENURE_CHANNEL_COUNT + g, top.channel##g##_write,  \
              get(top.channel##g##_data), top.channel##g##_strobe, responses[g][now]);
        TENURE_CHANNELS(TENURE_SERVE)
#define TENURE_RECORD(c) record(c, top.core##c##_activity);
        TENURE_CORES(TENURE_RECORD)
    }

    void rise() {
        if (top.rst) {
            top.clk = 0;
            top.eval();
        } else {
            ++cycle;
        }
        top.clk = 1;
        top.eval();
    }

    void serve(size_t beat, bool write, const uint8_t* data, uint32_t strobe, Beat& response) {
        if (beat >= TENURE_MEMORY_BEATS) return;
        uint8_t* place = memory + beat * TENURE_BEAT_BYTES;
        if (!write) {
            std::memcpy(response.data(), place, TENURE_BEAT_BYTES);
            return;
        }
        for (int vector = 0; vector < TENURE_VECTORS; ++vector) {
            const size_t first = size_t(vector) * TENURE_VECTOR_BYTES;
            if (strobe >> vector & 1) std::memcpy(place + first, data + first, TENURE_VECTOR_BYTES);
        }
    }

    void record(int64_t core, uint32_t bits) {
        if (bits == activity[core]) return;
        activity[core] = bits;
        changes.push_back({cycle, core, bits});
    }

    VerilatedContext context;
    Vpool top{&context};
    int64_t cycle = 0;
    std::array<std::array<Beat, TENURE_LATENCY>, TENURE_CHANNEL_COUNT> responses{};
    std::array<uint32_t, TENURE_CORE_COUNT> activity{};
};

}  // namespace

extern "C" {

void* tenure_create() { return new Pool; }

void tenure_destroy(void* pool) { delete static_cast<Pool*>(pool); }

uint8_t* tenure_memory(void* pool) { return static_cast<Pool*>(pool)->memory; }

// control holds `rows` rows (write enable, address, data) for the first cycles; read_data, if not null, gets
// control_read_data of every cycle.
void tenure_advance(void* pool, uint64_t cycles, const uint32_t* control, uint64_t rows, uint32_t* read_data) {
    static_cast<Pool*>(pool)->advance(cycles, control, rows, read_data);
}

// One cycle of the host port: the request goes in, what the port answers comes out.
void tenure_host_cycle(void* pool, HostPort* port) { static_cast<Pool*>(pool)->host_cycle(*port); }

// How often the activity of a core has changed, and the rows (cycle, core, bits), valid until the next call.
uint64_t tenure_activity(void* pool, const ActivityChange** rows) {
    const auto& changes = static_cast<Pool*>(pool)->changes;
    *rows = changes.data();
    return changes.size();
}

}  // extern "C"

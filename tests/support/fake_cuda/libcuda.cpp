// A libcuda.so.1 for tests: what kvbm calls of the driver, over host memory, so that the bindings and everything above
// them are the real ones. A stream is a thread with a queue, so order is kept within a stream and nowhere else. Device
// memory is named shared memory, so that another process can open it. A source that may be read before its turn is read at
// once. Whatever the real driver would not reach is an illegal address.
//
// fake_hold(1) lets nothing begin until fake_hold(0). fake_fail(call, code, times) makes calls fail.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#define KVBM_CPU
#include "kernels.cuh"

typedef int Result;
typedef unsigned long long Address;
enum { INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_CONTEXT = 201, INVALID_HANDLE = 400, NOT_FOUND = 500, ILLEGAL_ADDRESS = 700 };

// Never destroyed: streams may still wait when the process ends.
static std::mutex& guard = *new std::mutex;
static std::condition_variable& changed = *new std::condition_variable;
static bool held = false;
static std::atomic<int> sticky{0}, waiting{0};

struct Range { size_t size; std::string name; bool is_host, is_opened; };
static std::map<Address, Range>& ranges = *new std::map<Address, Range>;
static std::map<std::string, std::pair<int, int>>& faults = *new std::map<std::string, std::pair<int, int>>;
static thread_local void* context = nullptr;

struct Event { long recorded = 0, come = 0; std::chrono::steady_clock::time_point at; };

struct Stream {
    std::deque<std::function<void()>> queue;
    bool is_over = false, is_busy = false;
    std::thread worker{[this] { run(); }};

    void run() {
        std::unique_lock<std::mutex> lock(guard);
        for (;;) {
            changed.wait(lock, [this] { return is_over || (!held && !queue.empty()); });
            if (queue.empty()) { if (is_over) return; continue; }
            auto work = std::move(queue.front());
            queue.pop_front();
            is_busy = true;
            lock.unlock();
            work();
            lock.lock();
            is_busy = false;
            changed.notify_all();
        }
    }
    void push(std::function<void()> work) {
        std::lock_guard<std::mutex> lock(guard);
        queue.push_back(std::move(work));
        changed.notify_all();
    }
    void wait() {
        std::unique_lock<std::mutex> lock(guard);
        waiting++;
        changed.wait(lock, [this] { return queue.empty() && !is_busy; });
        waiting--;
    }
};

static Result fault(const char* call) {
    std::lock_guard<std::mutex> lock(guard);
    if (sticky) return sticky;
    auto found = faults.find(call);
    if (found == faults.end() || found->second.second <= 0) return 0;
    found->second.second--;
    return found->second.first;
}
#define MAY_FAIL if (Result code = fault(__func__)) return code
#define NEEDS_CONTEXT MAY_FAIL; if (!context) return INVALID_CONTEXT

static std::map<Address, Range>::iterator find(Address address) {
    auto after = ranges.upper_bound(address);
    if (after == ranges.begin()) return ranges.end();
    auto it = std::prev(after);
    return address < it->first + it->second.size ? it : ranges.end();
}
static bool reaches(Address address, size_t size) {
    std::lock_guard<std::mutex> lock(guard);
    auto it = find(address);
    return it != ranges.end() && address + size <= it->first + it->second.size;
}
static bool is_device(Address address) {
    std::lock_guard<std::mutex> lock(guard);
    auto it = find(address);
    return it != ranges.end() && !it->second.is_host;
}

extern "C" {
void fake_hold(int hold) { std::lock_guard<std::mutex> lock(guard); held = hold; changed.notify_all(); }
void fake_fail(const char* call, int code, int times) { std::lock_guard<std::mutex> lock(guard); faults[call] = {code, times}; }
void fake_recover() { sticky = 0; }
int fake_waiting() { return waiting; }
int fake_allocations() { std::lock_guard<std::mutex> lock(guard); return (int)ranges.size(); }
void fake_write(Stream* stream, Address to, int byte, size_t size) { stream->push([=] { memset((void*)to, byte, size); }); }

Result cuInit(unsigned) { return 0; }
Result cuGetExportTable(const void** table, const void*) { *table = nullptr; return 801; }  // NVRTC asks for one
Result cuDriverGetVersion(int* version) { *version = 13000; return 0; }
Result cuDeviceGet(int* device, int index) { *device = index; return 0; }
Result cuDeviceGetCount(int* count) { *count = 1; return 0; }
Result cuDeviceGetName(char* name, int, int) { strcpy(name, "fake GPU"); return 0; }
Result cuDeviceTotalMem_v2(size_t* size, int) { *size = 1ul << 30; return 0; }
Result cuDeviceGetUuid_v2(char* uuid, int) { memset(uuid, 0xab, 16); return 0; }
Result cuDeviceGetAttribute(int* value, int attribute, int) { *value = attribute == 75 ? 9 : attribute == 76 ? 0 : 4; return 0; }
Result cuGetErrorName(int code, const char** name) { *name = code ? "CUDA_ERROR" : "CUDA_SUCCESS"; return 0; }
Result cuGetErrorString(int, const char** text) { *text = "an error of the fake driver"; return 0; }
Result cuDevicePrimaryCtxRetain(void** out, int) { MAY_FAIL; *out = (void*)0x10; return 0; }
Result cuDevicePrimaryCtxRelease_v2(int) { return 0; }
Result cuCtxSetCurrent(void* now) { context = now; return 0; }
Result cuCtxGetStreamPriorityRange(int* least, int* greatest) { *least = 0; *greatest = -5; return 0; }
Result cuModuleLoadData(void** module, const void* image) { NEEDS_CONTEXT; *module = (void*)0x20; return memcmp(image, "\x7f" "ELF", 4) ? INVALID_VALUE : 0; }
static void *const COPY = (void*)0x30, *const HASH = (void*)0x31;
Result cuModuleUnload(void*) { return 0; }
Result cuModuleGetFunction(void** function, void*, const char* name) {
    *function = !strcmp(name, "copy_blocks") ? COPY : !strcmp(name, "hash_blocks") ? HASH : nullptr;
    return *function ? 0 : NOT_FOUND;
}
Result cuFuncGetAttribute(int* value, int, void*) { *value = 46; return 0; }

static Result map_memory(Address* out, const char* name, size_t size, bool is_new) {
    int fd = shm_open(name, is_new ? O_RDWR | O_CREAT | O_EXCL : O_RDWR, 0600);
    if (fd < 0 || (is_new && ftruncate(fd, (off_t)size))) return is_new ? OUT_OF_MEMORY : INVALID_HANDLE;
    void* at = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (at == MAP_FAILED) return OUT_OF_MEMORY;
    *out = (Address)at;
    std::lock_guard<std::mutex> lock(guard);
    ranges[*out] = Range{size, name, false, !is_new};
    return 0;
}
Result cuMemAlloc_v2(Address* out, size_t size) {
    NEEDS_CONTEXT;
    static std::atomic<int> number{0};
    char name[64];
    snprintf(name, sizeof name, "/kvbm-fake-%d-%d", getpid(), number++);
    return map_memory(out, name, size, true);
}
static Result unmap(Address address, bool is_opened) {
    std::lock_guard<std::mutex> lock(guard);
    auto it = ranges.find(address);
    if (it == ranges.end() || it->second.is_host || it->second.is_opened != is_opened) return INVALID_VALUE;
    munmap((void*)address, it->second.size);
    if (!is_opened) shm_unlink(it->second.name.c_str());
    ranges.erase(it);
    return 0;
}
Result cuMemFree_v2(Address address) { NEEDS_CONTEXT; return unmap(address, false); }
Result cuMemGetAddressRange_v2(Address* base, size_t* size, Address address) {
    NEEDS_CONTEXT;
    std::lock_guard<std::mutex> lock(guard);
    auto it = find(address);
    if (it == ranges.end() || it->second.is_host) return INVALID_VALUE;
    *base = it->first;
    *size = it->second.size;
    return 0;
}
Result cuMemHostRegister_v2(void* address, size_t size, unsigned flags) {
    NEEDS_CONTEXT;
    if (flags != 3) return INVALID_VALUE;
    std::lock_guard<std::mutex> lock(guard);
    ranges[(Address)address] = Range{size, "", true, false};
    return 0;
}
Result cuMemHostUnregister(void* address) {
    NEEDS_CONTEXT;
    std::lock_guard<std::mutex> lock(guard);
    auto it = ranges.find((Address)address);
    if (it == ranges.end() || !it->second.is_host) return INVALID_VALUE;
    ranges.erase(it);
    return 0;
}
Result cuMemHostGetDevicePointer_v2(Address* out, void* address, unsigned) {
    NEEDS_CONTEXT;
    std::lock_guard<std::mutex> lock(guard);
    auto it = find((Address)address);
    if (it == ranges.end() || !it->second.is_host) return INVALID_VALUE;
    *out = (Address)address;
    return 0;
}
struct Handle { int pid; char name[60]; };
Result cuIpcGetMemHandle(Handle* handle, Address address) {
    NEEDS_CONTEXT;
    std::lock_guard<std::mutex> lock(guard);
    auto it = ranges.find(address);
    if (it == ranges.end() || it->second.is_host) return INVALID_VALUE;
    handle->pid = getpid();
    snprintf(handle->name, sizeof handle->name, "%zu %s", it->second.size, it->second.name.c_str());
    return 0;
}
Result cuIpcOpenMemHandle_v2(Address* out, Handle handle, unsigned flags) {
    NEEDS_CONTEXT;
    size_t size = 0;
    char name[60];
    if (flags != 1 || sscanf(handle.name, "%zu %59s", &size, name) != 2) return INVALID_VALUE;
    return handle.pid == getpid() ? INVALID_CONTEXT : map_memory(out, name, size, false);
}
Result cuIpcCloseMemHandle(Address address) { NEEDS_CONTEXT; return unmap(address, true); }

Result cuStreamCreateWithPriority(Stream** out, unsigned, int) { NEEDS_CONTEXT; *out = new Stream; return 0; }
Result cuStreamDestroy_v2(Stream* stream) {
    { std::lock_guard<std::mutex> lock(guard); stream->is_over = true; changed.notify_all(); }
    stream->worker.join();
    delete stream;
    return 0;
}
Result cuStreamSynchronize(Stream* stream) { NEEDS_CONTEXT; stream->wait(); return sticky; }
Result cuEventCreate(Event** out, unsigned) { NEEDS_CONTEXT; *out = new Event; return 0; }
Result cuEventDestroy_v2(Event* event) { delete event; MAY_FAIL; return 0; }
Result cuEventRecord(Event* event, Stream* stream) {
    NEEDS_CONTEXT;
    long number;
    { std::lock_guard<std::mutex> lock(guard); number = ++event->recorded; }
    stream->push([=] {
        std::lock_guard<std::mutex> lock(guard);
        event->come = number;
        event->at = std::chrono::steady_clock::now();
        changed.notify_all();
    });
    return 0;
}
static void await(Event* event, long number) {
    std::unique_lock<std::mutex> lock(guard);
    changed.wait(lock, [=] { return event->come >= number; });
}
Result cuStreamWaitEvent(Stream* stream, Event* event, unsigned) {
    NEEDS_CONTEXT;
    long number;
    { std::lock_guard<std::mutex> lock(guard); number = event->recorded; }
    stream->push([=] { await(event, number); });
    return 0;
}
Result cuEventSynchronize(Event* event) {
    NEEDS_CONTEXT;
    waiting++;
    await(event, event->recorded);
    waiting--;
    return sticky;
}
Result cuEventElapsedTime_v2(float* ms, Event* start, Event* end) {
    *ms = std::chrono::duration<float, std::milli>(end->at - start->at).count();
    return 0;
}

static void copy_now(Address to, Address from, size_t size) {
    // Host memory that is not pinned is reached too, as the driver does by a copy of its own; two such ends are no device's.
    bool is_legal = is_device(to) ? reaches(to, size) && (!is_device(from) || reaches(from, size)) : is_device(from) && reaches(from, size);
    if (is_legal) memcpy((void*)to, (void*)from, size);
    else sticky = ILLEGAL_ADDRESS;
}
Result cuMemcpyHtoD_v2(Address to, const void* from, size_t size) { NEEDS_CONTEXT; copy_now(to, (Address)from, size); return sticky; }
Result cuMemcpyAsync(Address to, Address from, size_t size, Stream* stream) {
    NEEDS_CONTEXT;
    stream->push([=] { copy_now(to, from, size); });
    return 0;
}
struct Attributes { unsigned order; int hints[4]; unsigned flags; };
Result cuMemcpyBatchAsync_v2(Address* to, Address* from, size_t* sizes, size_t count, Attributes* attributes, size_t* starts,
                             size_t attribute_count, Stream* stream) {
    NEEDS_CONTEXT;
    if (attribute_count != 1 || starts[0] || (attributes->order != 1 && attributes->order != 3)) return INVALID_VALUE;
    for (size_t at = 0; at < count; at++) {
        Address target = to[at], source = from[at];
        size_t size = sizes[at];
        if (attributes->order == 1) { stream->push([=] { copy_now(target, source, size); }); continue; }
        auto early = std::make_shared<std::vector<char>>((char*)source, (char*)source + size);
        stream->push([=] { memcpy((void*)target, early->data(), size); });
    }
    return 0;
}
static void run_grid(unsigned grid, unsigned threads, const std::function<void()>& kernel) {
    gridDim.x = grid;
    blockDim.x = threads;
    for (blockIdx.x = 0; blockIdx.x < grid; blockIdx.x++)
        for (threadIdx.x = 0; threadIdx.x < threads; threadIdx.x++) kernel();
}
static void launch_copy(unsigned grid, unsigned threads, Stream* stream, void** arguments) {
    const Box* boxes = *(const Box**)arguments[0];
    u32 box_count = *(u32*)arguments[1], block_count = *(u32*)arguments[3], to_pool = *(u32*)arguments[4];
    Blocks blocks = *(Blocks*)arguments[2];
    stream->push([=] {
        bool is_legal = threads <= THREADS_MAX && is_device((Address)boxes) && reaches((Address)boxes, box_count * sizeof(Box));
        for (u32 b = 0; is_legal && b < block_count; b++)
            for (u32 i = 0; is_legal && i < box_count; i++) {
                Address pool = boxes[i].base + blocks.slots[b] * boxes[i].slot_stride;
                is_legal = is_device(pool) && reaches(pool, boxes[i].row_bytes) && reaches(blocks.packed[b] + boxes[i].place, boxes[i].row_bytes);
            }
        if (!is_legal) { sticky = ILLEGAL_ADDRESS; return; }
        run_grid(grid, threads, [&] { copy_blocks(boxes, box_count, blocks, block_count, to_pool); });
    });
}
static void launch_hash(unsigned grid, unsigned threads, Stream* stream, void** arguments) {
    Hashed hashed = *(Hashed*)arguments[0];
    u32 block_count = *(u32*)arguments[1];
    u64 size = *(u64*)arguments[2];
    u64* sums = *(u64**)arguments[3];
    stream->push([=] {
        bool is_legal = threads <= HASH_THREADS_MAX && is_device((Address)sums) && reaches((Address)sums, block_count * STRIPE_BYTES);
        for (u32 b = 0; is_legal && b < block_count; b++) is_legal = reaches(hashed.blocks[b], size);
        if (!is_legal) { sticky = ILLEGAL_ADDRESS; return; }
        run_grid(grid, threads, [&] { hash_blocks(hashed, block_count, size, sums); });
    });
}
Result cuLaunchKernel(void* function, unsigned grid, unsigned, unsigned, unsigned threads, unsigned, unsigned, unsigned, Stream* stream,
                      void** arguments, void**) {
    NEEDS_CONTEXT;
    if (function != COPY && function != HASH) return INVALID_HANDLE;
    (function == COPY ? launch_copy : launch_hash)(grid, threads, stream, arguments);
    return 0;
}

Result cuGetProcAddress_v2(const char* name, void** out, int, unsigned long long, int* status) {
    static void* self = [] { Dl_info info; dladdr((void*)fake_hold, &info); return dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD); }();
    std::string plain = name;
    *out = dlsym(self, (plain + "_v2").c_str());
    if (!*out) *out = dlsym(self, name);
    if (status) *status = *out ? 0 : 1;
    return *out ? 0 : NOT_FOUND;
}
Result cuGetProcAddress(const char* name, void** out, int version, unsigned long long flags) { return cuGetProcAddress_v2(name, out, version, flags, nullptr); }
}

#include "models/files/hdf5_file.h"

#include "base/error.h"

#if !defined(TUNDRA_HDF5)

SafetensorsFile read_hdf5(const std::filesystem::path& path) { return read_hdf5(path, {}); }

SafetensorsFile read_hdf5(const std::filesystem::path& path, std::span<const std::byte>) {
    fail(Fault::usage,
         "{}: is an HDF5 file, and this tundra was built without HDF5; install libhdf5-dev and build again",
         path.string());
}

#else

#include <dlfcn.h>
#include <hdf5.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

namespace {

void* symbol(const char* name) {
    static void* const library = dlopen(TUNDRA_HDF5, RTLD_NOW | RTLD_LOCAL);
    void* const found = library ? dlsym(library, name) : nullptr;
    if (!found) fail(Fault::environment, "HDF5 is needed to read Keras' files: {}", dlerror());
    return found;
}

// Everything of the library that is used below.
#define LOADED(name) (*reinterpret_cast<decltype(&::name)>(symbol(#name)))
#define H5Aexists LOADED(H5Aexists)
#define H5Aget_space LOADED(H5Aget_space)
#define H5Aget_type LOADED(H5Aget_type)
#define H5Aopen LOADED(H5Aopen)
#define H5Aread LOADED(H5Aread)
#define H5Dget_create_plist LOADED(H5Dget_create_plist)
#define H5Dget_space LOADED(H5Dget_space)
#define H5Dget_storage_size LOADED(H5Dget_storage_size)
#define H5Dget_type LOADED(H5Dget_type)
#define H5Dread LOADED(H5Dread)
#define H5Eset_auto2 LOADED(H5Eset_auto2)
#define H5Fopen LOADED(H5Fopen)
#define H5Gget_info LOADED(H5Gget_info)
#define H5Gopen2 LOADED(H5Gopen2)
#define H5Idec_ref LOADED(H5Idec_ref)
#define H5Iget_type LOADED(H5Iget_type)
#define H5Lget_name_by_idx LOADED(H5Lget_name_by_idx)
#define H5Oopen LOADED(H5Oopen)
#define H5Pget_external_count LOADED(H5Pget_external_count)
#define H5Pget_filter2 LOADED(H5Pget_filter2)
#define H5Pget_layout LOADED(H5Pget_layout)
#define H5Pget_nfilters LOADED(H5Pget_nfilters)
#define H5Sget_simple_extent_dims LOADED(H5Sget_simple_extent_dims)
#define H5Sget_simple_extent_ndims LOADED(H5Sget_simple_extent_ndims)
#define H5Tget_class LOADED(H5Tget_class)
#define H5Tget_size LOADED(H5Tget_size)
#define H5Tis_variable_str LOADED(H5Tis_variable_str)
#define H5check_version LOADED(H5check_version)
#define H5open LOADED(H5open)
#if H5_VERSION_GE(1, 12, 0)
#define H5Lget_info2 LOADED(H5Lget_info2)
#else
#define H5Lget_info LOADED(H5Lget_info)
#endif
#define H5T_NATIVE_FLOAT_g LOADED(H5T_NATIVE_FLOAT_g)

constexpr size_t kObjectLimit = 20'000, kDepthLimit = 8, kRankLimit = 8, kFreeBytes = size_t(64) << 20, kRatio = 16;
constexpr unsigned kSeconds = 60;

struct Id {  // closes an HDF5 object of any kind
    hid_t id;
    explicit Id(hid_t id) : id(id) {}
    Id(const Id&) = delete;
    ~Id() {
        if (id >= 0) H5Idec_ref(id);
    }
};

class Reader {
public:
    Reader(const std::filesystem::path& path, const std::string& label)
        : label_(label), limit_bytes_(kFreeBytes + kRatio * file_size(path)) {
        H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
        const Id file(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT));
        if (file.id < 0) damaged("the library cannot open it");
        const Id root(H5Gopen2(file.id, "/", H5P_DEFAULT));
        text(root.id, "model_config", "model_config");
        group(root.id, "", 0);
    }

    void write(const std::filesystem::path& path) const {
        std::vector<FileTensor> tensors;
        for (const auto& [name, shape, values] : datasets_)
            tensors.push_back({name, DType::f32, shape, std::as_bytes(std::span(values))});
        write_safetensors(path, tensors, texts_, false);
    }

private:
    struct Dataset {
        std::string name;
        std::vector<size_t> shape;
        std::vector<float> values;
    };

    void group(hid_t id, const std::string& prefix, size_t depth) {
        if (depth > kDepthLimit) damaged("groups are nested deeper than {}", kDepthLimit);
        H5G_info_t info;
        if (id < 0 || H5Gget_info(id, &info) < 0) damaged("group '{}' is unreadable", prefix);
        for (hsize_t i = 0; i < info.nlinks; ++i) {
            if (++objects_ > kObjectLimit) damaged("more than {} objects", kObjectLimit);
            char name[1024];
            const ssize_t length =
                H5Lget_name_by_idx(id, ".", H5_INDEX_NAME, H5_ITER_INC, i, name, sizeof name, H5P_DEFAULT);
            if (length <= 0 || size_t(length) >= sizeof name) damaged("a name in group '{}' is unreadable", prefix);
            H5L_info_t link;
            if (H5Lget_info(id, name, &link, H5P_DEFAULT) < 0) damaged("link '{}{}' is unreadable", prefix, name);
            if (link.type != H5L_TYPE_HARD)
                damaged("'{}{}' is a soft or external link, which is never followed", prefix, name);
            const Id object(H5Oopen(id, name, H5P_DEFAULT));
            const H5I_type_t type = object.id < 0 ? H5I_BADID : H5Iget_type(object.id);
            if (type == H5I_GROUP && std::string_view(name) == "vars" && !prefix.empty())
                text(object.id, "name", "name " + prefix.substr(0, prefix.size() - 1));
            if (type == H5I_GROUP)
                group(object.id, prefix + name + "/", depth + 1);
            else if (type == H5I_DATASET)
                dataset(object.id, prefix + name);
            else
                damaged("'{}{}' is unreadable", prefix, name);
        }
    }

    // An attribute that is a text, of fixed or variable length, as metadata.
    void text(hid_t id, const char* attribute, const std::string& key) {
        if (H5Aexists(id, attribute) <= 0) return;
        const Id opened(H5Aopen(id, attribute, H5P_DEFAULT));
        const Id type(opened.id < 0 ? hid_t(-1) : H5Aget_type(opened.id));
        if (type.id < 0 || H5Tget_class(type.id) != H5T_STRING) return;
        const Id space(H5Aget_space(opened.id));
        if (space.id < 0 || H5Sget_simple_extent_ndims(space.id) != 0) return;  // a list of texts
        std::string value;
        if (H5Tis_variable_str(type.id) > 0) {
            char* text = nullptr;  // never freed: this process ends soon
            if (H5Aread(opened.id, type.id, &text) < 0) damaged("the attribute '{}' is unreadable", key);
            if (text) value = text;
        } else {
            const size_t size = H5Tget_size(type.id);
            if (size > limit_bytes_) damaged("the attribute '{}' claims {} bytes", key, size);
            value.resize(size);
            if (H5Aread(opened.id, type.id, value.data()) < 0) damaged("the attribute '{}' is unreadable", key);
            value.resize(std::min(value.find('\0'), value.size()));
        }
        texts_[key] = std::move(value);
    }

    void dataset(hid_t id, const std::string& name) {
        const Id type(H5Dget_type(id)), space(H5Dget_space(id)), settings(H5Dget_create_plist(id));
        if (type.id < 0 || space.id < 0 || settings.id < 0) damaged("dataset '{}' is unreadable", name);
        if (H5Tget_class(type.id) != H5T_FLOAT) return;  // an optimizer's counters, texts
        if (H5Tget_size(type.id) > 8) damaged("dataset '{}' has elements of {} bytes", name, H5Tget_size(type.id));
        const int rank = H5Sget_simple_extent_ndims(space.id);
        hsize_t dimensions[H5S_MAX_RANK] = {};
        if (rank < 0 || size_t(rank) > kRankLimit) damaged("dataset '{}' has {} dimensions", name, rank);
        if (H5Sget_simple_extent_dims(space.id, dimensions, nullptr) < 0) damaged("dataset '{}' is unreadable", name);
        size_t count = 1;
        for (int i = 0; i < rank; ++i)
            if (__builtin_mul_overflow(count, size_t(dimensions[i]), &count))
                damaged("dataset '{}' has a size of more than 64 bits", name);
        if (count > (limit_bytes_ - total_bytes_) / sizeof(float))
            damaged("dataset '{}' claims {} elements, more than a file of its size may hold", name, count);
        total_bytes_ += count * sizeof(float);

        const H5D_layout_t layout = H5Pget_layout(settings.id);
        if (layout != H5D_CONTIGUOUS && layout != H5D_COMPACT && layout != H5D_CHUNKED)
            damaged("dataset '{}' is virtual, which is never followed", name);
        if (H5Pget_external_count(settings.id) != 0)
            damaged("dataset '{}' lies in another file, which is never opened", name);
        if (layout != H5D_CHUNKED && H5Dget_storage_size(id) < count * H5Tget_size(type.id))
            damaged("dataset '{}' claims more elements than are stored", name);
        const int filters = H5Pget_nfilters(settings.id);
        for (int i = 0; i < filters; ++i) {
            unsigned flags;
            size_t parameters = 0;
            const H5Z_filter_t filter =
                H5Pget_filter2(settings.id, unsigned(i), &flags, &parameters, nullptr, 0, nullptr, nullptr);
            if (filter != H5Z_FILTER_DEFLATE && filter != H5Z_FILTER_SHUFFLE)
                damaged("dataset '{}' is stored with filter {}", name, int(filter));
        }
        Dataset result{name, {dimensions, dimensions + rank}, std::vector<float>(count)};
        if (count && H5Dread(id, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, result.values.data()) < 0)
            damaged("dataset '{}' is unreadable", name);
        datasets_.push_back(std::move(result));
    }

    template <class... Parts>
    [[noreturn]] void damaged(fmt::format_string<Parts...> text, Parts&&... parts) const {
        fail(Fault::damaged, "{}: damaged HDF5 file: {}; copy or download it again", label_,
             fmt::format(text, std::forward<Parts>(parts)...));
    }

    std::string label_;
    size_t limit_bytes_, total_bytes_ = 0, objects_ = 0;
    std::vector<Dataset> datasets_;
    std::map<std::string, std::string> texts_;
};

// In the child: the exit status is the Fault, the text of an error goes through the pipe.
[[noreturn]] void child(const std::filesystem::path& path, const std::string& label,
                        const std::filesystem::path& result, int report) {
    for (const int signal : {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGTERM, SIGINT}) std::signal(signal, SIG_DFL);
    const rlimit no_core{0, 0}, seconds{kSeconds, kSeconds};
    setrlimit(RLIMIT_CORE, &no_core);
    setrlimit(RLIMIT_CPU, &seconds);
#if !defined(__SANITIZE_ADDRESS__)
    const rlim_t memory = (rlim_t(8) << 30) + 4 * kRatio * file_size(path);
    const rlimit bounded{memory, memory};
    setrlimit(RLIMIT_AS, &bounded);
#endif
    int status = 0;
    std::string text;
    try {
        Reader(path, label).write(result);
    } catch (const Error& error) {
        status = int(error.fault);
        text = error.what();
    } catch (const std::exception& error) {
        status = int(Fault::damaged);
        text = fmt::format("{}: damaged HDF5 file: {}", label, error.what());
    }
    if (write(report, text.data(), text.size()) < 0) status = int(Fault::damaged);
    _exit(status);
}

}  // namespace

SafetensorsFile read_hdf5(const std::filesystem::path& path) {
    read_file(path, size_t(8) << 30);  // fails in this process if the name cannot be read
    return read_hdf5(path, {});
}

SafetensorsFile read_hdf5(const std::filesystem::path& path, std::span<const std::byte> bytes) {
    std::string folder = std::filesystem::temp_directory_path() / "tundra-XXXXXX";
    if (!mkdtemp(folder.data()))
        fail(Fault::environment, "{}: cannot create a folder; free some space or set TMPDIR", folder);
    struct Removed {
        const std::string& folder;
        ~Removed() {
            std::error_code ignored;
            std::filesystem::remove_all(folder, ignored);
        }
    } const removed{folder};
    const std::filesystem::path result = folder + "/weights.safetensors", content = folder + "/content.h5";
    if (!bytes.empty())
        write_file_durably(
            content, [&](FileWriter& out) { out.write(bytes); }, false);
    int report[2];
    if (pipe(report) != 0) fail(Fault::environment, "{}: cannot make a pipe", path.string());
    const pid_t process = fork();
    if (process == 0) {
        close(report[0]);
        child(bytes.empty() ? path : content, path.string(), result, report[1]);
    }
    close(report[1]);
    std::string text;
    char part[1024];
    for (ssize_t count;
         process > 0 && ((count = read(report[0], part, sizeof part)) > 0 || (count < 0 && errno == EINTR));)
        if (count > 0) text.append(part, size_t(count));
    close(report[0]);
    if (process < 0) fail(Fault::environment, "{}: cannot start a process to read it", path.string());
    int status = 0;
    while (waitpid(process, &status, 0) < 0 && errno == EINTR) {
    }
    if (!WIFEXITED(status))
        fail(Fault::damaged, "{}: damaged HDF5 file: the library fails on it (signal {}); copy or download it again",
             path.string(), WTERMSIG(status));
    if (WEXITSTATUS(status) != 0)
        throw Error(Fault(WEXITSTATUS(status)), text.empty() ? path.string() + ": damaged HDF5 file" : text);
    return SafetensorsFile::parse(read_file(result), path.string());
}

#endif

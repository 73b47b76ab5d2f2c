// Where state goes that memory has no room for: immutable pages on disk, found by a reference that the state
// keeps. A changed page is stored anew and the old one released; nothing is ever overwritten, so a checkpoint
// is a small root that refers to pages, and those that did not change since the last one cost nothing.
//
// Pages are a cache of the log: losing them costs a replay, never a message. They become durable only when a
// checkpoint asks for it.
//
// Thread rule: one strand (the state's), but for Sealed::sync().
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/disk.h"
#include "base/result.h"

namespace mainstay::paging {

/// Where a page is; kept inside checkpoint roots. File numbers start at 1 and rise for ever; file 0 = no
/// page.
struct PageRef {
  std::uint32_t file{};
  std::uint32_t offset{};  ///< of the page in its file, in units of 8 bytes
  std::uint32_t bytes{};   ///< of its content
  [[nodiscard]] explicit operator bool() const { return file != 0; }
  friend constexpr bool operator==(const PageRef&, const PageRef&) = default;
};
inline constexpr std::size_t kPageBytesMax = std::size_t{16} << 20;

/// A page that the state refers to cannot be had: the state is unusable from here on. It can surface in the
/// middle of any access to paged state, therefore an exception: only the driver that owns the node catches
/// it, and stops the node (a restart recovers from an older checkpoint or the log). No call but the
/// destructor may follow one that threw it.
struct PageLost : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class PageStore {
 public:
  virtual ~PageStore() = default;

  /// Stores a page (1 to kPageBytesMax bytes; copied). Nothing when the disk is full: the caller keeps the
  /// page in memory and tries again later. Throws PageLost when the disk fails otherwise. Cheap: pages are
  /// gathered and written some hundred KiB at a time; one that is not written yet is loaded from memory.
  [[nodiscard]] virtual std::optional<PageRef> store(BytesView content) = 0;
  /// Replaces `into` by the content. Throws PageLost when what the disk gives is not what was stored; `into`
  /// holds no page then. Reads the disk before it returns, if the page was written.
  virtual void load(PageRef page, Buffer& into) = 0;
  /// The state refers to this page no longer. Checkpoints that do keep its file alive.
  virtual void release(PageRef page) = 0;
  /// The page lies in a file that is mostly released ones, or in one of many small files: store it anew and
  /// release this one when convenient, so that the file can be removed.
  [[nodiscard]] virtual bool wants_moving(PageRef page) const = 0;

  /// A checkpoint, step by step: seal() when the root refers only to stored pages; sync() on any thread;
  /// then the root is stored durably by the caller; then checkpoint_stored(). The root's pages are those in
  /// use at seal(); their files are kept while the Sealed lives. A checkpoint is given up by dropping it.
  /// May outlive the store, not the disk.
  class Sealed {
   public:
    virtual ~Sealed() = default;
    /// Makes every page in use at seal() durable. Any one thread, while the strand goes on. After `no_space`
    /// give this checkpoint up; a later seal() tries again. After any other error stop the node.
    [[nodiscard]] virtual Result<void, DiskError> sync() = 0;
    /// The files that hold the root's pages, ascending, none longer than it was at seal(); whole once sync()
    /// has succeeded, and there for as long as this is held. With the root they are all there is to copy. Any
    /// thread. Empty for pages in memory.
    struct File {
      std::uint32_t number{};
      std::uint64_t bytes{};
    };
    [[nodiscard]] virtual const std::vector<File>& files() const = 0;
  };
  /// Writes what is gathered and ends the file being written: later pages go to another one. What fails here
  /// is told by sync(); every page stays where it was.
  [[nodiscard]] virtual std::shared_ptr<Sealed> seal() = 0;
  /// The root that belongs to `sealed` is durable: after a sync() that succeeded, in the order of the seal()
  /// calls. The two newest checkpoints (and, until there are two in this life, everything found at open) keep
  /// their files; others that hold no page in use are removed.
  virtual void checkpoint_stored(const std::shared_ptr<Sealed>& sealed) = 0;

  /// Restoring a state: a page of the root that is used from now on. Before the first store(). Throws
  /// PageLost when the page's file is missing, too short, or not one of ours: then open a new page store and
  /// restore another checkpoint. The page itself is checked when it is loaded.
  virtual void adopt(PageRef page) = 0;

  /// Of all page files, what is gathered included.
  [[nodiscard]] virtual std::uint64_t disk_bytes() const = 0;
  [[nodiscard]] virtual std::uint64_t pages_in_use() const = 0;
};

/// Name of a page file in the store's directory.
[[nodiscard]] std::string page_file_name(std::uint32_t file);

/// Pages in memory: tests, and tools that only look.
[[nodiscard]] std::unique_ptr<PageStore> memory_page_store();

struct PageStoreOptions {
  std::uint64_t file_bytes = 32ULL << 20;     ///< a new file begins when the one being written is this long
  std::uint64_t gather_bytes = 256ULL << 10;  ///< written at a time; a page longer than this goes alone
};

/// Pages in `directory` of `disk` (made if need be). What the last life left is garbage until adopt() says
/// otherwise, but no file of it is removed before two checkpoints were stored in this life. One store per
/// directory; the disk outlives it.
[[nodiscard]] Result<std::unique_ptr<PageStore>, DiskError> open_page_store(Disk& disk,
                                                                            const std::string& directory,
                                                                            PageStoreOptions options = {});

}  // namespace mainstay::paging

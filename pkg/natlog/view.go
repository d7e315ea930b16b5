package natlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"sync"
)

// view is the open files of a log and their blocks.
type view struct {
	files  []*openFile
	tails  []ref
	blocks []ref // in the order in which they were appended
	errs   []error
}

type openFile struct {
	*os.File
	path string
	size int64
}

// ref is a block of an open file.
type ref struct {
	*openFile
	locatedBlock
}

// fail returns err as a FileError of the block.
func (r *ref) fail(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = errCorrupt("the file ends within the block")
	}
	return &FileError{r.path, r.off, err}
}

// openView opens all files. It opens the tail before the segments: the writer writes the
// records of a tail to a segment before it removes the tail, so each record is found.
func openView(dir string) (_ *view, err error) {
	v := &view{}
	defer func() {
		if err != nil {
			v.close()
		}
	}()
	if err := v.openTails(dir); err != nil {
		return nil, err
	}
	if err := v.openSegments(dir); err != nil {
		return nil, err
	}
	if len(v.files) == 0 {
		// A Writer creates its lock file at once, and other files only for its first record.
		if info, err := os.Lstat(filepath.Join(dir, lockName)); err != nil || !info.Mode().IsRegular() {
			return nil, fmt.Errorf("%s has no file of a NAT log: %w", dir, fs.ErrNotExist)
		}
	}
	v.appendTails()
	return v, nil
}

func (v *view) openTails(dir string) error {
	_, tails, err := list(dir)
	if err != nil {
		return err
	}
	for _, t := range tails {
		refs, err := v.add(t, true)
		if err != nil {
			return err
		}
		v.tails = append(v.tails, refs...)
	}
	return nil
}

func (v *view) openSegments(dir string) error {
	segments, _, err := list(dir)
	if err != nil {
		return err
	}
	for i, s := range segments {
		refs, err := v.add(s, i == len(segments)-1)
		if err != nil {
			return err
		}
		v.blocks = append(v.blocks, refs...)
	}
	return nil
}

// appendTails appends the blocks of tails that are in no segment.
func (v *view) appendTails() {
	next := uint64(0)
	for _, b := range v.blocks {
		next = max(next, b.seq+uint64(b.count))
	}
	for _, b := range v.tails {
		if b.seq >= next {
			v.blocks = append(v.blocks, b)
		}
	}
}

// add opens a file and lists its blocks. A missing file is no error: the writer has removed
// it because of its age or size, or has packed the tail.
func (v *view) add(n logFile, beingWritten bool) ([]ref, error) {
	f, err := os.Open(n.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open the NAT log: %w", err)
	}
	s := &openFile{File: f, path: n.path}
	v.files = append(v.files, s)
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	s.size = info.Size()
	var c contents
	err = c.read(f, s.size)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
		if !beingWritten {
			err = errCorrupt("the file ends within a block")
		}
	}
	if err != nil {
		at := c.end
		if errors.Is(err, ErrNewer) {
			at = 0
		}
		v.errs = append(v.errs, &FileError{n.path, at, err})
	}
	refs := make([]ref, len(c.blocks))
	for i, p := range c.blocks {
		refs[i] = ref{s, p}
	}
	return refs, nil
}

func (v *view) close() {
	for _, f := range v.files {
		_ = f.Close() // the file was only read
	}
}

// decodeEach calls do for each block, on GOMAXPROCS goroutines. It yields the results in the
// order of the blocks.
func decodeEach[T any](ctx context.Context, blocks []ref, do func(*decoder, *ref) (T, error)) iter.Seq2[T, error] {
	type result struct {
		value T
		err   error
	}
	type job struct {
		block *ref
		out   chan result
	}
	return func(yield func(T, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		workers := min(runtime.GOMAXPROCS(0), len(blocks))
		jobs, order := make(chan job), make(chan chan result, 2*workers)
		var all sync.WaitGroup
		defer all.Wait()
		defer cancel()
		all.Go(func() {
			defer close(jobs)
			defer close(order)
			for i := range blocks {
				j := job{&blocks[i], make(chan result, 1)}
				select {
				case order <- j.out:
				case <-ctx.Done():
					return
				}
				jobs <- j
			}
		})
		for range workers {
			all.Go(func() {
				d, err := newDecoder()
				if err == nil {
					defer d.zstd.Close()
				}
				for j := range jobs {
					r := result{err: err}
					if err == nil && ctx.Err() == nil {
						r.value, r.err = do(d, j.block)
					}
					j.out <- r
				}
			})
		}
		var none T
		for out := range order {
			r := <-out
			if err := ctx.Err(); err != nil {
				yield(none, err)
				return
			}
			if !yield(r.value, r.err) {
				return
			}
		}
		if err := ctx.Err(); err != nil {
			yield(none, err)
		}
	}
}

// What tests/languages/test_go.py asks of Go: the first argument says what.
package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"time"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func deeper(n int) int {
	if n == 0 {
		return 0
	}
	return deeper(n-1) + 1
}

func main() {
	switch os.Args[1] {
	case "shown":
		name, _ := os.Hostname()
		fmt.Println(len(os.Args), os.Args[2:], os.Environ(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), name)
	case "digest": // of stdin, and how many bytes it was
		sum := sha256.New()
		size, err := io.Copy(sum, os.Stdin)
		check(err)
		fmt.Printf("%d %x\n", size, sum.Sum(nil))
	case "exit":
		code, _ := strconv.Atoi(os.Args[2])
		defer fmt.Println("never")
		os.Exit(code)
	case "panic":
		var list []int
		fmt.Println(list[len(os.Args)])
	case "workers": // squares, by eight goroutines
		jobs, results := make(chan int), make(chan int)
		var workers sync.WaitGroup
		for range 8 {
			workers.Add(1)
			go func() {
				defer workers.Done()
				for job := range jobs {
					time.Sleep(time.Millisecond)
					results <- job * job
				}
			}()
		}
		go func() {
			for job := range 100 {
				jobs <- job
			}
			close(jobs)
			workers.Wait()
			close(results)
		}()
		sum := 0
		for result := range results {
			sum += result
		}
		fmt.Println(sum)
	case "echo": // line by line
		lines := bufio.NewScanner(os.Stdin)
		for lines.Scan() {
			fmt.Println(lines.Text() + "!")
		}
	case "channels": // the input "list", its words as JSON to the output "result"
		data, err := os.ReadFile("/dev/in/list")
		check(err)
		out, err := os.OpenFile("/dev/out/result", os.O_WRONLY, 0)
		check(err)
		check(json.NewEncoder(out).Encode(map[string]int{"bytes": len(data)}))
		check(out.Close())
		check(os.WriteFile("/tmp/file", data, 0o600))
		again, err := os.ReadFile("/tmp/file")
		check(err)
		_, err = os.Open("/dev/in/none")
		fmt.Println(string(again) == string(data), errors.Is(err, os.ErrNotExist))
	case "outside":
		_, dialled := net.Dial("tcp", "127.0.0.1:80")
		_, looked := net.LookupHost("localhost")
		started := exec.Command("/bin/true").Run()
		_, opened := os.Open("/etc/passwd")
		fmt.Println(dialled != nil, looked != nil, started != nil, errors.Is(opened, os.ErrNotExist))
	case "time":
		begun := time.Now()
		time.Sleep(50 * time.Millisecond)
		select {
		case <-time.After(20 * time.Millisecond):
		case <-make(chan int):
		}
		fmt.Println(begun.Unix(), time.Since(begun), rand.Int63(), time.Local)
	case "deadlock":
		<-make(chan int)
	case "deep":
		deepest, _ := strconv.Atoi(os.Args[2])
		fmt.Println(deeper(deepest))
	case "greedy":
		var all [][]byte
		for {
			all = append(all, make([]byte, 1<<20))
			all[len(all)-1][0] = 1
		}
	}
}

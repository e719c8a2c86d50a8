module keep-n-free

go 1.24

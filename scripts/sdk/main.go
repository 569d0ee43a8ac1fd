// Writes the SDKs of a schema with Pulumi's own code generators.
//
//	go run . FOLDER < schema.json
//
// scripts/sdks.py runs it. In FOLDER, each language has a folder: nodejs, go and python.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	golang "github.com/pulumi/pulumi/pkg/v3/codegen/go"
	"github.com/pulumi/pulumi/pkg/v3/codegen/nodejs"
	"github.com/pulumi/pulumi/pkg/v3/codegen/python"
	"github.com/pulumi/pulumi/pkg/v3/codegen/schema"
)

const generator = "pulumi-vmbackup"

func main() {
	if err := run(os.Args[1], os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(folder string, input io.Reader) error {
	var spec schema.PackageSpec
	if err := json.NewDecoder(input).Decode(&spec); err != nil {
		return err
	}
	pkg, err := schema.ImportSpec(spec, nil, schema.NewNullLoader(), schema.ValidationOptions{})
	if err != nil {
		return err
	}
	files, err := nodejs.GeneratePackage(generator, pkg, nil, nil, false, nil)
	if err != nil {
		return err
	}
	if err := write(filepath.Join(folder, "nodejs"), files); err != nil {
		return err
	}
	files, err = golang.GeneratePackage(generator, pkg, nil)
	if err != nil {
		return err
	}
	if err := write(filepath.Join(folder, "go"), files); err != nil {
		return err
	}
	files, err = python.GeneratePackage(generator, pkg, nil, nil)
	if err != nil {
		return err
	}
	return write(filepath.Join(folder, "python"), files)
}

func write(folder string, files map[string][]byte) error {
	for name, content := range files {
		path := filepath.Join(folder, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

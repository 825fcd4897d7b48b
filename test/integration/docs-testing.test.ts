/** The files shown in docs/testing.md, written to an empty project and run there as they stand, types and all. */
import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { ROOT, scratch } from './process.ts'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

/** Blocks of TypeScript by the file name in their first line. */
function filesOf(markdown: string): Map<string, string> {
  const files = new Map<string, string>()
  for (const [, code] of markdown.matchAll(/^```ts\n([\s\S]*?)^```$/gm)) {
    const name = /^\/\/ (\S+\.ts)\n/.exec(code!)?.[1]
    expect(name, `every block names its file: ${code!.slice(0, 80)}`).toBeDefined()
    files.set(name!, code!)
  }
  return files
}

test('every file of docs/testing.md has the right types, and its tests pass', () => {
  const files = filesOf(readFileSync(join(ROOT, 'docs/testing.md'), 'utf8'))
  const tests = [...files.keys()].filter((name) => name.endsWith('.test.ts'))
  expect(tests.length).toBeGreaterThanOrEqual(3)
  const dir = scratch(cleanups)
  mkdirSync(join(dir, 'node_modules/@types'), { recursive: true })
  symlinkSync(ROOT, join(dir, 'node_modules/millrace'))
  symlinkSync(join(ROOT, 'node_modules/vitest'), join(dir, 'node_modules/vitest'))
  symlinkSync(join(ROOT, 'node_modules/@types/node'), join(dir, 'node_modules/@types/node'))
  writeFileSync(join(dir, 'package.json'), '{"type":"module"}')
  for (const [name, code] of files) writeFileSync(join(dir, name), code)
  const compilerOptions = {
    module: 'NodeNext',
    target: 'ES2023',
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    allowImportingTsExtensions: true,
    types: ['node'],
  }
  writeFileSync(join(dir, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['*.ts'] }))
  const types = spawnSync(process.execPath, [join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', dir], {
    encoding: 'utf8',
  })
  expect(types.stdout).toBe('')
  const vitest = join(ROOT, 'node_modules/vitest/vitest.mjs')
  const run = spawnSync(process.execPath, [vitest, 'run', '--root', dir, '--reporter', 'json'], {
    cwd: dir,
    encoding: 'utf8',
    env: { ...process.env, VITEST: '', VITEST_MODE: '', VITEST_POOL_ID: '', VITEST_WORKER_ID: '' },
  })
  const report = JSON.parse(run.stdout) as { success: boolean; numPassedTests: number; numTotalTests: number }
  expect(report, run.stdout + run.stderr).toMatchObject({ success: true })
  expect(report.numPassedTests).toBe(report.numTotalTests)
  expect(report.numPassedTests).toBeGreaterThanOrEqual(6)
})

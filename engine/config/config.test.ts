import { describe, expect, expectTypeOf, test } from 'vitest'
import { MillraceError } from '../contract/errors.ts'
import { configurationPage, defineConfig, type NodeConfig, resolveConfig, SETTINGS } from './config.ts'

function faultsOf(sources: Parameters<typeof resolveConfig>[0]): string[] {
  try {
    resolveConfig(sources)
  } catch (error) {
    expect(error).toBeInstanceOf(MillraceError)
    expect((error as MillraceError).code).toBe('CONFIG_INVALID')
    return (error as MillraceError).faults.map((fault) => `${fault.place}: ${fault.problem}`)
  }
  return []
}

describe('the configuration', () => {
  test('has every default, in base units, and is frozen', () => {
    const config = resolveConfig()
    expect(config).toEqual({
      port: 8428,
      host: '127.0.0.1',
      insecure: false,
      data: './millrace-data',
      retentionAgeMs: 7 * 86_400_000,
      retentionSizeBytes: 10e9,
      partitions: 16,
      commitEveryMs: 100,
      checkpointEveryMs: 5_000,
      bodyLimitBytes: 32 * 2 ** 20,
      seriesLimit: 1_000_000,
      futureLimitMs: 600_000,
      lagLimit: 100_000_000,
      idempotencyHorizonMs: 86_400_000,
      idempotencyKeys: 20_000_000,
      producerLimit: 10_000,
      scoreSeries: 0,
      shards: config.shards,
      shardHeapBytes: 4 * 2 ** 30,
      hangAfterMs: 30_000,
      poisonTries: 3,
      restartLimit: 20,
      restartWindowMs: 600_000,
      diskReserveBytes: 512e6,
      ingestRingBytes: 16 * 2 ** 20,
      shardRingBytes: 16 * 2 ** 20,
      commitRingBytes: 16 * 2 ** 20,
    })
    expect(config.shards).toBeGreaterThanOrEqual(1)
    expect(Object.isFrozen(config)).toBe(true)
    expectTypeOf(config.retentionAgeMs).toEqualTypeOf<number>()
    expectTypeOf(config).toEqualTypeOf<NodeConfig>()
  })

  test('flags beat the environment, which beats the file', () => {
    const file = { port: 1, commitEvery: '1s', checkpointEvery: '9s' }
    const env = { MILLRACE_PORT: '2', MILLRACE_COMMIT_EVERY: '2s' }
    const config = resolveConfig({ flags: { port: '3' }, env, file })
    expect([config.port, config.commitEveryMs, config.checkpointEveryMs]).toEqual([3, 2_000, 9_000])
  })

  test('flags may be written with dashes or without, and as text or not', () => {
    expect(resolveConfig({ flags: { 'retention-age': '1d', insecure: true } })).toMatchObject({
      retentionAgeMs: 86_400_000,
      insecure: true,
    })
    expect(resolveConfig({ flags: { retentionAge: '1d' } }).retentionAgeMs).toBe(86_400_000)
    expect(resolveConfig({ env: { MILLRACE_INSECURE: 'true', MILLRACE_DATA: '123' } })).toMatchObject({
      insecure: true,
      data: '123',
    })
  })

  test('an empty or a foreign variable, and an absent flag, count as not set', () => {
    const config = resolveConfig({
      flags: { port: undefined },
      env: { MILLRACE_PORT: '', MILLRACE_OTHER: 'x', PORT: '1' },
    })
    expect(config.port).toBe(8428)
  })

  test('one error names every fault at the place it was written', () => {
    const sources = {
      flags: { port: '70000', prot: '1' },
      env: { MILLRACE_RETENTION_AGE: '7', MILLRACE_INSECURE: 'maybe', MILLRACE_SHARDS: 'many' },
      file: { data: 5, retention: '1d', bodyLimit: '1GB', partitions: '4' },
      fileName: 'millrace.config.js',
    }
    expect(faultsOf(sources)).toEqual([
      '--prot: is no known setting',
      'millrace.config.js: retention: is no known setting',
      '--port: is out of bounds',
      'MILLRACE_INSECURE: is neither true nor false',
      'millrace.config.js: data: is not a text',
      'MILLRACE_RETENTION_AGE: has no unit',
      'millrace.config.js: partitions: is not a number',
      'MILLRACE_SHARDS: is not a number',
    ])
    expect(() => resolveConfig(sources)).toThrow(
      /--port: is out of bounds \(got "70000"\)\. Write a whole number from 0 to 65535/,
    )
    expect(() => resolveConfig(sources)).toThrow(/--prot: .*Did you mean "port"\?/)
  })

  test.each(['0.0.0.0', '192.168.1.4', '::', 'example.org', '127.0.0.1.example.org', '1270.0.0.1'])(
    'the host %s is refused without --insecure',
    (host) => {
      expect(faultsOf({ flags: { host } })).toEqual([
        '--host: is not this machine alone, and there is no authentication yet',
      ])
      expect(resolveConfig({ flags: { host, insecure: true } }).host).toBe(host)
    },
  )

  test.each(['127.0.0.1', '127.1.2.3', 'localhost', '::1', '[::1]'])('the host %s needs no leave', (host) => {
    expect(resolveConfig({ file: { host } }).host).toBe(host)
  })

  test('checkpoints are not more frequent than commits', () => {
    expect(faultsOf({ file: { commitEvery: '10s' } })).toEqual([
      'checkpointEvery: is less than commitEvery, 10000 ms',
    ])
  })

  test.each([[5], [null], [[]], ['x']])('a file that exports %j is refused', (file) => {
    expect(faultsOf({ file })).toEqual(['millrace.config.ts: does not export an object'])
  })

  test('settings are known by file, flag and variable', () => {
    expect(SETTINGS.find((setting) => setting.name === 'checkpointEvery')).toMatchObject({
      flag: '--checkpoint-every',
      env: 'MILLRACE_CHECKPOINT_EVERY',
      default: '5s',
      isSwitch: false,
    })
    expect(SETTINGS.filter((setting) => setting.isSwitch).map((setting) => setting.name)).toEqual([
      'insecure',
    ])
  })

  test('defineConfig types the file', () => {
    expect(defineConfig({ port: 1 })).toEqual({ port: 1 })
    // @ts-expect-error: no such setting
    defineConfig({ prot: 1 })
  })

  test('docs/configuration.md is current', async () => {
    await expect(configurationPage()).toMatchFileSnapshot('../../docs/configuration.md')
  })
})

import { describe, expect, test } from 'vitest'
import { SETTINGS } from '../engine/config/config.ts'
import { argumentFaults, givenSettings, settingFlags } from './arguments.ts'

const FLAGS = { ...settingFlags(), json: { type: 'boolean' as const }, name: { type: 'string' as const } }
const faults = (words: string, positionals = 'FILE...'): string[] =>
  argumentFaults(words.split(' '), FLAGS, positionals).map(({ place, problem }) => `${place} ${problem}`)

describe('argumentFaults', () => {
  test.each([
    'a.ts b.csv -',
    '--port 1 a.ts --json',
    '--port=1 --name=-x --no-json',
    '--json=true --insecure',
    'a.ts -- --anything',
  ])('takes %s', (words) => {
    expect(faults(words)).toEqual([])
  })

  test('finds every unknown flag at once, and what was meant', () => {
    const found = argumentFaults(['--prot', '8', '--jsn', '-x', 'a.ts'], FLAGS, 'FILE...')
    expect(found.map(({ place, remedy }) => [place, remedy])).toEqual([
      ['--prot', 'Did you mean --port? --help lists them.'],
      ['--jsn', 'Did you mean --json? --help lists them.'],
      ['-x', '--help lists them.'],
    ])
  })

  test('a flag without its value is named, the flag after it is still read', () => {
    expect(faults('--port --json --nmae x')).toEqual(['--port has no value', '--nmae is no known flag'])
    expect(faults('--name')).toEqual(['--name has no value'])
    expect(faults('--name=')).toEqual(['--name has no value'])
  })

  test('a switch takes no value', () => {
    expect(faults('--json=5')).toEqual(['--json takes no value'])
  })

  test('a command without operands refuses any', () => {
    expect(faults('--json x', '')).toEqual(['arguments is not expected'])
  })
})

describe('flags of the configuration', () => {
  test('are those of its table, each once, with its meaning', () => {
    const flags = settingFlags()
    for (const { flag, meaning } of SETTINGS) {
      expect(flags[flag.slice(2)]?.description).toContain(meaning)
    }
    expect(Object.keys(flags)).toHaveLength(SETTINGS.length + 1)
  })

  test('given ones go by the name of their setting', () => {
    expect(givenSettings({ 'retention-age': '1d', port: '0', json: true })).toEqual({
      retentionAge: '1d',
      port: '0',
    })
  })
})

<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
<qgis styleCategories="Symbology|Labeling|MapTips|Temporal" labelsEnabled="1" version="3.22.16">
  <temporal fixedDuration="0" enabled="0" startExpression="" limitMode="0" accumulate="0" mode="0" startField="" endField="" endExpression="" durationField="" durationUnit="min">
    </temporal>
  <renderer-v2 type="singleSymbol" forceraster="0" referencescale="-1" enableorderby="0" symbollevels="0">
    <symbols>
      <symbol clip_to_extent="1" type="fill" name="0" alpha="1" force_rhr="0">
        <layer pass="0" class="SimpleFill" enabled="1" locked="0">
          <Option type="Map">
            <Option type="QString" name="color" value="0,114,178,18" />
            <Option type="QString" name="joinstyle" value="bevel" />
            <Option type="QString" name="offset" value="0,0" />
            <Option type="QString" name="offset_unit" value="MM" />
            <Option type="QString" name="outline_color" value="0,114,178,170" />
            <Option type="QString" name="outline_style" value="solid" />
            <Option type="QString" name="outline_width" value="0.35" />
            <Option type="QString" name="outline_width_unit" value="MM" />
            <Option type="QString" name="style" value="solid" />
          </Option>
        </layer>
      </symbol>
    </symbols>
  </renderer-v2>
  <labeling type="simple">
    <settings calloutType="simple">
      <text-style textOpacity="1" capitalization="0" legendString="Aa" textOrientation="horizontal" fontSizeUnit="Point" blendMode="0" fontItalic="0" allowHtml="0" previewBkgrdColor="255,255,255,255" fontUnderline="0" fontSize="9" fontKerning="1" textColor="0,114,178,255" isExpression="1" fontWeight="50" multilineHeight="1" namedStyle="" fontStrikeout="0" fontLetterSpacing="0" useSubstitutions="0" fieldName="coalesce(&quot;name&quot;, &quot;id&quot;)" fontWordSpacing="0">
        <families />
        <text-buffer bufferSizeUnits="MM" bufferOpacity="1" bufferNoFill="1" bufferDraw="1" bufferSize="0.80000000000000004" bufferColor="255,255,255,255" bufferBlendMode="0" bufferJoinStyle="128" />
      </text-style>
      <text-format useMaxLineLengthForAutoWrap="1" wrapChar="" reverseDirectionSymbol="0" decimals="3" autoWrapLength="0" multilineAlign="3" formatNumbers="0" addDirectionSymbol="0" plussign="0" placeDirectionSymbol="0" leftDirectionSymbol="&lt;" rightDirectionSymbol="&gt;" />
      <placement placementFlags="10" polygonPlacementFlags="2" maxCurvedCharAngleOut="-25" offsetUnits="MM" lineAnchorType="0" centroidInside="0" geometryGeneratorEnabled="0" rotationAngle="0" placement="8" lineAnchorClipping="0" repeatDistanceUnits="MM" overrunDistance="0" quadOffset="4" preserveRotation="1" distUnits="MM" maxCurvedCharAngleIn="25" fitInPolygonOnly="0" repeatDistance="0" centroidWhole="0" lineAnchorPercent="0.5" overrunDistanceUnit="MM" geometryGeneratorType="PointGeometry" xOffset="0" geometryGenerator="" layerType="UnknownGeometry" dist="0" priority="5" yOffset="0" predefinedPositionOrder="TR,TL,BR,BL,R,L,TSR,BSR" rotationUnit="AngleDegrees" offsetType="0" />
      <rendering limitNumLabels="0" minFeatureSize="0" upsidedownLabels="0" obstacleFactor="1" fontLimitPixelSize="0" scaleMax="10000" fontMinPixelSize="0" scaleVisibility="1" obstacle="1" drawLabels="1" maxNumLabels="2000" obstacleType="1" labelPerPart="0" zIndex="0" unplacedVisibility="0" scaleMin="0" mergeLines="0" fontMaxPixelSize="10000" displayAll="0" />
    </settings>
  </labeling>
  <mapTip>&lt;b&gt;[% replace(replace(coalesce("name", "id"), '&amp;', '&amp;amp;'), '&lt;', '&amp;lt;') %]&lt;/b&gt;&lt;br&gt;[% "object_count" %] objects stand</mapTip>
</qgis>
